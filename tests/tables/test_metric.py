from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from nasi_ray.errors import DataError
from nasi_ray.tables.metric import METADATA_KEY, column_metric, nb101_metric, nb201_metric


def test_nasbench101_mean_column_is_108_epoch_test_accuracy() -> None:
    metric = column_metric("test_accuracy", None, "hash")
    assert metric is not None
    assert (metric.dataset, metric.split, metric.epochs) == ("cifar10", "test", 108)
    assert (metric.unit, metric.num_trials) == ("fraction", 3)


@pytest.mark.parametrize(
    ("column", "dataset", "split", "epochs", "num_trials"),
    [
        ("cifar10_test_accuracy_200ep", "cifar10", "test", 200, None),
        ("cifar10_test_accuracy_12ep", "cifar10", "test", 12, 1),
        ("cifar10_valid_accuracy_12ep", "cifar10", "valid", 12, 2),
        ("imagenet16_120_valid_accuracy_12ep", "imagenet16_120", "valid", 12, None),
    ],
)
def test_nasbench201_columns_say_what_they_are(
    column: str, dataset: str, split: str, epochs: int, num_trials: int | None
) -> None:
    metric = column_metric(column, None, "arch")
    assert metric is not None
    assert (metric.dataset, metric.split, metric.epochs) == (dataset, split, epochs)
    assert (metric.unit, metric.num_trials) == ("percent", num_trials)


@pytest.mark.parametrize(
    ("column", "key"),
    [("cifar10_params", "arch"), ("test_accuracy", "arch"), ("validation_accuracy", "hash")],
)
def test_other_columns_have_no_meaning_made_up(column: str, key: str) -> None:
    assert column_metric(column, {}, key) is None


@pytest.mark.parametrize(
    ("column", "dataset", "split", "epochs"),
    [
        ("cifar10_val_accuracy", "cifar10", "valid", None),
        ("cifar100_test_accuracy_600ep", "cifar100", "test", 600),
        ("imagenet_validation_acc", "imagenet", "valid", None),
        ("test_accuracy", "data set not stated", "test", None),
    ],
)
def test_columns_of_darts_cells_say_what_their_names_do(
    column: str, dataset: str, split: str, epochs: int | None
) -> None:
    metric = column_metric(column, None, "genotype")
    assert metric is not None
    assert (metric.dataset, metric.split, metric.epochs) == (dataset, split, epochs)
    assert (metric.unit, metric.num_trials) == ("percent", None)
    schedule = "an unstated number of" if epochs is None else epochs
    assert f"accuracy after {schedule} epochs" in metric.describe()
    for other in ("cifar10_test_error", "params", "accuracy", "cifar10_surrogate"):
        assert column_metric(other, None, "genotype") is None


def test_metadata_round_trip() -> None:
    for metric in (
        nb101_metric("valid", 36, num_trials=3),
        nb201_metric("cifar100", "test", 200, num_trials=None),
    ):
        metadata = {METADATA_KEY: metric.to_json().encode()}
        assert column_metric(metric.column, metadata, "hash") == metric


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"column": "test_accuracy"}'])
def test_broken_metadata_are_refused(text: bytes) -> None:
    with pytest.raises(DataError, match=r"broken nasi_ray.metric metadata"):
        column_metric("test_accuracy", {METADATA_KEY: text}, "hash")


def test_metadata_of_a_renamed_column_are_refused() -> None:
    metadata = {METADATA_KEY: nb101_metric("valid", 4, num_trials=3).to_json().encode()}
    with pytest.raises(DataError, match="'test_accuracy' has the metadata of 'valid_accuracy_4ep'"):
        column_metric("test_accuracy", metadata, "hash")


def test_errors_are_in_percent_whatever_the_unit() -> None:
    fraction = nb101_metric("test", 108, num_trials=3)
    percent = nb201_metric("cifar10", "test", 200, num_trials=None)
    assert fraction.error_percent(np.array([0.9375])).tolist() == [6.25]
    assert percent.error_percent(np.array([93.75])).tolist() == [6.25]


FIELDS = json.loads(nb201_metric("cifar10", "test", 200, num_trials=3).to_json())
WRONG: dict[str, list[Any]] = {
    "column": [None, 5, ["x"], {}],
    "dataset": [None, 5, []],
    "split": [None, 5, "", "Test", "validation", ["test"], {"test": 1}],
    "unit": [None, 5, "", "percents", ["percent"]],
    "epochs": [None, "200", 200.0, True, [200]],
    "num_trials": ["3", 3.0, True, [3]],
    "trained_on": [None, 5, []],
}


@pytest.mark.parametrize("name", WRONG)
def test_metadata_of_another_type_or_value_are_refused(name: str) -> None:
    assert WRONG.keys() == FIELDS.keys()
    for value in WRONG[name]:
        text = json.dumps({**FIELDS, name: value}).encode()
        with pytest.raises(DataError, match=r"broken nasi_ray.metric metadata"):
            column_metric(FIELDS["column"], {METADATA_KEY: text}, "arch")


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"column":' * 100_000, b"\xff", b"", b"9" * 5000]
)
def test_metadata_that_are_no_object_are_refused(text: bytes) -> None:
    with pytest.raises(DataError, match=r"broken nasi_ray.metric metadata") as caught:
        column_metric("x", {METADATA_KEY: text}, "arch")
    assert len(str(caught.value)) < 300
