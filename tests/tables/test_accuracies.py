from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import ConfigError, DataError, UnknownNameError
from nasi_ray.spaces.nb201 import NB201
from nasi_ray.tables.accuracies import open_accuracies


def test_tables_and_metrics_that_are_not_there_are_named(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(ConfigError, match="add --table"):
        open_accuracies("s1", "", "")
    with pytest.raises(DataError, match="there is no table"):
        open_accuracies("s1", str(tmp_path), "")
    with pytest.raises(UnknownNameError, match="'accuracy'; choose one of test_accuracy"):
        open_accuracies("s1", str(data_dir), "accuracy")
    with pytest.raises(DataError, match=r"keyed by 'arch', but tables of s1 are keyed by 'hash'"):
        open_accuracies("s1", str(data_dir / "nasbench201.parquet"), "")


def test_the_default_metric_is_the_test_accuracy_at_full_schedule(data_dir: Path) -> None:
    found = open_accuracies("nb201", str(data_dir), "")
    assert found.metric.column == "cifar10_test_accuracy_200ep"
    assert found.error_name == "test error"
    assert found.of_space()[0].min() == pytest.approx(100 - 94.373, abs=1e-3)
    twelve = open_accuracies("nb201", str(data_dir), "cifar10_valid_accuracy_12ep")
    assert (twelve.metric.split, twelve.metric.epochs) == ("valid", 12)
    assert twelve.error_name == "validation error"


def write_table(path: Path, *columns: str) -> str:
    names = [NB201.architecture(i).to_string() for i in range(3)]
    pq.write_table(
        pa.table({"arch": names, **{name: [90.0, 91.0, 92.0] for name in columns}}), path
    )
    return str(path)


def test_without_a_name_the_only_metric_or_the_default_is_taken(tmp_path: Path) -> None:
    valid, default = "cifar10_valid_accuracy_12ep", "cifar10_test_accuracy_200ep"
    only = write_table(tmp_path / "only.parquet", valid)
    several = write_table(tmp_path / "several.parquet", valid, default)
    assert open_accuracies("nb201", only).metric.column == valid
    assert open_accuracies("nb201", several).metric.column == default


def test_several_metrics_without_the_default_are_listed(tmp_path: Path) -> None:
    names = ("cifar10_test_accuracy_12ep", "cifar10_valid_accuracy_12ep")
    table = write_table(tmp_path / "t.parquet", *names)
    with pytest.raises(DataError, match=r"_12ep \(cifar10 test .*; .*choose with --metric"):
        open_accuracies("nb201", table)
    with pytest.raises(DataError, match="it has no accuracies; choose with --metric"):
        open_accuracies("nb201", write_table(tmp_path / "none.parquet"))
