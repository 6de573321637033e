from __future__ import annotations

import pyarrow as pa

from nasi_ray.tables import TabularBenchmark
from nasi_ray.tables.metric import Metric, nb101_metric, nb201_metric
from nasi_ray.tables.table_file import Columns, make_table
from nasi_ray.tables.text import plural_large, table_lines


def lines_of(columns: Columns) -> list[str]:
    return table_lines(TabularBenchmark(make_table(columns), "t.parquet"))


def trials(metric: Metric, values: list[list[float]]) -> Columns:
    return {metric.column: (pa.array(values, pa.list_(pa.float64())), metric)}


def test_every_accuracy_is_told_with_split_schedule_trials_and_best() -> None:
    digests = [b"a" * 16, b"b" * 16, b"a" * 16, b"c" * 16]
    lines = lines_of(
        {
            "hash": (pa.array(digests, pa.binary(16)), None),
            "params": (pa.array([1, 2, 1, 3]), None),
            **trials(
                nb101_metric("valid", 4, num_trials=None), [[0.5, 0.75], [0.5], [0.5, 0.75], []]
            ),
            **trials(nb101_metric("test", 108, num_trials=1), [[0.25], [0.875], [0.25], [0.5]]),
        }
    )
    assert lines[:8] == [
        "t.parquet: 4 rows, 3 architectures by NAS-Bench-101 hash",
        "other columns: params",
        "splits: validation, test",
        "schedules: 4, 108 epochs",
        "data set: cifar10",
        "stored as: fraction",
        "trained on: 40,000 of the training images",
        "",
    ]
    assert lines[8:11] == [
        "column               split       epochs  trials           no trial",
        "valid_accuracy_4ep   validation  4       3 (1 to 2 each)  1",
        "test_accuracy_108ep  test        108     3 (1 each)       0",
    ]
    assert lines[12:] == [
        "best mean accuracy",
        f"  cifar10 validation, 4 epochs: 62.500 %, {b'a'.hex() * 16}",
        f"  cifar10 test, 108 epochs: 87.500 %, {b'b'.hex() * 16}",
    ]


def test_means_are_called_means_and_percent_stays_percent() -> None:
    stated = nb201_metric("cifar10", "test", 12, num_trials=1)
    silent = nb201_metric("cifar100", "valid", 200, num_trials=None)
    arch = ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]
    lines = lines_of(
        {
            "arch": (pa.array(arch), None),
            stated.column: (pa.array([61.25]), stated),
            silent.column: (pa.array([None], pa.float64()), silent),
        }
    )
    assert lines[0] == "t.parquet: 1 row, 1 architecture by NAS-Bench-201 string"
    assert lines[3] == "stored as: percent"
    assert [" ".join(line.split()) for line in lines[6:8]] == [
        "cifar10_test_accuracy_12ep cifar10 test 12 mean of 1 0 all 50,000 training images",
        "cifar100_valid_accuracy_200ep cifar100 validation 200 mean of a number not stated 1 "
        "all training images",
    ]
    assert lines[-2:] == [
        f"  cifar10 test, 12 epochs: 61.250 %, {arch[0]}",
        "  cifar100 validation, 200 epochs: none",
    ]


def test_a_table_without_known_accuracies_says_so() -> None:
    for digests in ([], [bytes(16)]):
        lines = lines_of({"hash": (pa.array(digests, pa.binary(16)), None)})
        assert lines[-1] == "accuracies: none whose split and schedule are known"


def test_an_empty_table_has_no_best() -> None:
    metric = nb101_metric("test", 108, num_trials=3)
    columns = {"hash": (pa.array([], pa.binary(16)), None), **trials(metric, [])}
    lines = lines_of(columns)
    assert lines[0] == "t.parquet: 0 rows, 0 architectures by NAS-Bench-101 hash"
    assert lines[-1] == "  cifar10 test, 108 epochs: none"


def test_large_numbers_are_grouped() -> None:
    assert plural_large(1, "row") == "1 row"
    assert plural_large(1_312_200, "row") == "1,312,200 rows"
