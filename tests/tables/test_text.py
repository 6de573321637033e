from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from nasi_ray.tables.metric import Metric, nb101_metric, nb201_metric
from nasi_ray.tables.table_file import Columns, make_table
from nasi_ray.tables.tabular import TabularBenchmark
from nasi_ray.tables.text import plural_large, table_lines


def lines_of(columns: Columns) -> list[str]:
    return table_lines(TabularBenchmark(make_table(columns), "t.parquet"))


def trials(metric: Metric, values: list[list[float]]) -> Columns:
    return {metric.column: (pa.array(values, pa.list_(pa.float64())), metric)}


def test_every_accuracy_has_its_split_schedule_trials_and_best() -> None:
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
    assert lines == [
        "t.parquet",
        "4 rows, 3 architectures by NAS-Bench-101 hash",
        "other columns: params",
        "splits: validation, test",
        "schedules: 4, 108 epochs",
        "data set: cifar10",
        "stored as: fraction",
        "trained on: 40,000 of the training images",
        "",
        "valid_accuracy_4ep",
        "  validation accuracy after 4 epochs, 3 trials (1 to 2 per architecture)",
        "  without a trial: 1 architecture",
        f"  best mean: 62.500 %, {b'a'.hex() * 16}",
        "",
        "test_accuracy_108ep",
        "  test accuracy after 108 epochs, 3 trials (1 per architecture)",
        f"  best mean: 87.500 %, {b'b'.hex() * 16}",
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
    assert lines == [
        "t.parquet",
        "1 row, 1 architecture by NAS-Bench-201 string",
        "splits: test, validation",
        "schedules: 12, 200 epochs",
        "stored as: percent",
        "",
        "cifar10_test_accuracy_12ep",
        "  test accuracy after 12 epochs, mean of 1 trial",
        "  data set: cifar10",
        "  trained on: all 50,000 training images",
        f"  best mean: 61.250 %, {arch[0]}",
        "",
        "cifar100_valid_accuracy_200ep",
        "  validation accuracy after 200 epochs, mean of an unstated number of trials",
        "  data set: cifar100",
        "  trained on: all training images",
        "  without a trial: 1 architecture",
        "  best mean: none",
    ]


def test_lines_fit_80_columns_and_a_longer_architecture_stands_alone() -> None:
    arch = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    columns: dict[str, Any] = {"arch": (pa.array([arch]), None)}
    for dataset in ("cifar10", "cifar100", "imagenet16_120"):
        for split in ("valid", "test"):
            for epochs in (12, 200):
                columns |= trials(nb201_metric(dataset, split, epochs, num_trials=None), [[9.5]])
    columns |= {f"a_column_of_someone_{i}": (pa.array([1]), None) for i in range(9)}
    lines = lines_of(columns)
    assert lines.count(f"      {arch}") == 12
    assert max(len(line) for line in lines if arch not in line) <= 80


def test_no_string_of_a_table_reaches_the_screen_raw() -> None:
    hostile = "a\x1b[2J\n\x07\u202eb"
    first, second, third = (nb201_metric("cifar10", "test", n, num_trials=None) for n in (1, 2, 3))
    metrics = [
        replace(first, column=hostile),
        replace(second, dataset=hostile),
        replace(third, trained_on=hostile),
    ]
    columns: dict[str, Any] = {
        "arch": (pa.array([hostile]), None),
        f"other {hostile}": (pa.array([1]), None),
    }
    for metric in metrics:
        columns |= trials(metric, [[10.0]])
    lines = table_lines(TabularBenchmark(make_table(columns), hostile))
    assert all(line.isprintable() for line in lines)
    assert sum("ab" in line or "a b" in line for line in lines) >= 6


def test_a_table_without_known_accuracies_says_so() -> None:
    for digests in ([], [bytes(16)]):
        lines = lines_of({"hash": (pa.array(digests, pa.binary(16)), None)})
        assert lines[-1] == "accuracies: none whose split and schedule are known"


def test_an_empty_table_has_no_best() -> None:
    metric = nb101_metric("test", 108, num_trials=3)
    columns = {"hash": (pa.array([], pa.binary(16)), None), **trials(metric, [])}
    lines = lines_of(columns)
    assert lines[1] == "0 rows, 0 architectures by NAS-Bench-101 hash"
    assert lines[-1] == "  best mean: none"


def test_large_numbers_are_grouped() -> None:
    assert plural_large(1, "row") == "1 row"
    assert plural_large(1_312_200, "row") == "1,312,200 rows"
