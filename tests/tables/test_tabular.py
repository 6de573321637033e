from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import DataError
from nasi_ray.spaces.genotype import Genotype
from nasi_ray.spaces.nb1shot1 import S1, S2, S3, NB1Shot1Architecture, NB1Shot1Space
from nasi_ray.spaces.nb201 import NB201, NB201Architecture, NB201Space
from nasi_ray.tables.metric import METADATA_KEY, nb101_metric
from nasi_ray.tables.tabular import TabularBenchmark
from nasi_ray.tables.text import table_lines
from tests.spaces.cells import DARTS_V1, DARTS_V2

FIRST, LAST = S1.architecture(0), S1.architecture(14_579)
NONE = NB201Architecture(("none",) * 6)


def hash_table(**columns: pa.Array) -> TabularBenchmark:
    keys = pa.array([bytes.fromhex(a.hash()) for a in (FIRST, LAST)], pa.binary(16))
    return TabularBenchmark(pa.table({"hash": keys, **columns}), "t.parquet")


def means() -> TabularBenchmark:
    return hash_table(test_accuracy=pa.array([0.875, 0.5], pa.float32()))


def arch_table() -> TabularBenchmark:
    cells = [NB201.architecture(i).to_string() for i in (1, 0)]
    columns = {
        "arch": pa.array(cells),
        "cifar10_test_accuracy_200ep": pa.array([90.0, 10.0]),
        "cifar10_test_accuracy_12ep": pa.array([60.0, 10.0]),
        "cifar10_valid_accuracy_12ep": pa.array([50.0, 10.0]),
        "cifar10_params": pa.array([1, 2]),
    }
    return TabularBenchmark(pa.table(columns), "nb201.parquet")


def per_trial(values: list[list[float]]) -> TabularBenchmark:
    metric = nb101_metric("valid", 108, num_trials=None)
    field = pa.field(
        metric.column, pa.list_(pa.float64()), metadata={METADATA_KEY: metric.to_json()}
    )
    keys = pa.array([bytes.fromhex(a.hash()) for a in (FIRST, LAST)], pa.binary(16))
    schema = pa.schema([pa.field("hash", pa.binary(16)), field])
    table = pa.Table.from_arrays([keys, pa.array(values, field.type)], schema=schema)
    return TabularBenchmark(table, "trials.parquet")


def test_lookup_by_architecture_string_hash_or_bytes() -> None:
    table = means()
    metric = table.metric("test")
    digest = LAST.hash()
    for key in (LAST, LAST.to_string(), digest, bytes.fromhex(digest)):
        assert table.accuracy(metric, key) == 0.5
        assert table.error_percent(metric, key) == 50.0
    assert table.accuracies(metric, [LAST, FIRST, LAST]).tolist() == [0.5, 0.875, 0.5]


def test_lookup_by_nasbench201_architecture_or_string() -> None:
    table = arch_table()
    metric = table.metric("valid")
    for key in (NB201.architecture(1), NB201.architecture(1).to_string()):
        assert table.accuracy(metric, key) == 50.0
    assert table.error_percent(metric, NONE) == 90.0


def test_whole_table_comes_in_its_row_order() -> None:
    table = arch_table()
    assert table.accuracies(table.metric("valid")).tolist() == [50.0, 10.0]
    assert table.column("cifar10_params").tolist() == [1, 2]
    assert len(table) == 2


def test_validation_is_never_replaced_by_test() -> None:
    with pytest.raises(DataError, match=r"has no validation accuracy; it has test_accuracy .*108"):
        means().metric("valid")


def test_one_schedule_is_never_replaced_by_another() -> None:
    table = arch_table()
    with pytest.raises(DataError, match=r"has no validation accuracy, 200 epochs; it has .*_12ep"):
        table.metric("valid", epochs=200)
    with pytest.raises(DataError, match="has no test accuracy, cifar100; it has"):
        table.metric("test", dataset="cifar100")
    with pytest.raises(DataError, match=r"more than one test accuracy; it has .*_200ep.*_12ep"):
        table.metric("test")
    assert table.metric("test", epochs=12).column == "cifar10_test_accuracy_12ep"


def test_metric_of_another_table_is_refused() -> None:
    with pytest.raises(DataError, match=r"t.parquet does not have cifar10_valid_accuracy_12ep"):
        means().accuracies(arch_table().metric("valid"))


def test_table_without_accuracies_says_so() -> None:
    with pytest.raises(DataError, match="it has no accuracies"):
        hash_table().metric("test")


def test_missing_architectures_are_counted_and_the_first_is_named() -> None:
    table = means()
    absent = [S1.architecture(i) for i in (7000, 8000)]
    with pytest.raises(DataError, match=f"{absent[0].hash()}; 2 of the 3 architectures .* are"):
        table.accuracies(table.metric("test"), [FIRST, *absent])
    with pytest.raises(DataError, match=r"no architecture \|avg_pool_3x3~0\|"):
        arch_table().rows([NB201.architecture(15_624)])
    longer = NB201.architecture(1).to_string() + "x"
    with pytest.raises(
        DataError, match=r"no architecture .*x; 1 of the 1 architectures asked for is"
    ):
        arch_table().rows([longer])


@pytest.mark.parametrize("key", ["", "abc", "zz" * 16, b"short", NONE])
def test_what_is_no_hash_is_refused(key: str | bytes | NB201Architecture) -> None:
    with pytest.raises(DataError, match="keyed by NAS-Bench-101 hash"):
        means().rows([key])


@pytest.mark.parametrize("key", ["0|3", "0;0,2|3", "0;1,0|3", "0;0,1|x", "0;0,1|"])
def test_what_is_no_nasbench1shot1_string_is_refused(key: str) -> None:
    with pytest.raises(DataError, match=r"t.parquet has no '0.*': .*parent"):
        means().rows([key])


@pytest.mark.parametrize("space", [S1, S2, S3, NB201], ids=lambda space: space.name)
def test_every_space_finds_its_cells_by_object_string_and_hash(
    space: NB1Shot1Space | NB201Space,
) -> None:
    cells = [space.architecture(i) for i in (0, 777, space.num_architectures - 1)]
    column = "test_accuracy" if isinstance(space, NB1Shot1Space) else "cifar10_test_accuracy_200ep"
    hashes = [c.hash() if isinstance(c, NB1Shot1Architecture) else c.to_string() for c in cells]
    keys = (
        {"hash": pa.array([bytes.fromhex(h) for h in hashes], pa.binary(16))}
        if isinstance(space, NB1Shot1Space)
        else {"arch": pa.array(hashes)}
    )
    values = [0.25, 0.5, 0.75] if isinstance(space, NB1Shot1Space) else [25.0, 50.0, 75.0]
    table = TabularBenchmark(pa.table({**keys, column: values}), "t")
    metric = table.metric("test")
    for cell, digest, expected in zip(cells, hashes, values, strict=True):
        for key in (cell, cell.to_string(), digest):
            assert table.accuracy(metric, key) == expected


@pytest.mark.parametrize(
    ("key", "message"),
    [(b"bytes", "keyed by architecture strings; it has no b'bytes'"), (FIRST, "no architecture")],
)
def test_what_is_no_nasbench201_string_is_refused(
    key: bytes | NB1Shot1Architecture, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        arch_table().rows([key])


def test_arrays_that_are_no_hashes_are_refused() -> None:
    for table, shape in ((means(), (2, 15)), (arch_table(), (2, 16))):
        with pytest.raises(DataError, match="give uint8 of shape"):
            table.rows(np.zeros(shape, dtype=np.uint8))


def test_hashes_that_end_in_zeros_are_told_apart() -> None:
    keys = [b"a" * 15 + b"\0", b"a" * 14 + b"\0\0", bytes(16)]
    columns = {"hash": pa.array(keys, pa.binary(16)), "test_accuracy": pa.array([0.1, 0.2, 0.3])}
    table = TabularBenchmark(pa.table(columns), "t")
    assert table.rows(keys).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=f"no architecture {b'b'.hex()}{'00' * 15}"):
        table.rows([b"b" + bytes(15)])


def test_trials_are_kept_apart_and_averaged() -> None:
    table = per_trial([[0.25, 0.5, 0.75], [0.5]])
    metric = table.metric("valid")
    assert table.trials(metric, [FIRST]).tolist() == [[0.25, 0.5, 0.75]]
    assert np.isnan(table.trials(metric)).tolist() == [[False] * 3, [False, True, True]]
    assert table.accuracies(metric).tolist() == [0.5, 0.5]


def test_architecture_without_a_trial_has_no_accuracy() -> None:
    table = per_trial([[0.25, 0.5], []])
    metric = table.metric("valid")
    assert table.accuracy(metric, FIRST) == 0.375
    with pytest.raises(DataError, match=r"has no valid_accuracy_108ep .* of 1 of 2 architectures"):
        table.accuracies(metric)


def test_null_is_no_accuracy() -> None:
    table = hash_table(test_accuracy=pa.array([None, 0.5], pa.float32()))
    with pytest.raises(DataError, match="of 1 of 1 architectures"):
        table.accuracy(table.metric("test"), FIRST)


def test_rows_of_one_key_must_agree() -> None:
    keys = pa.array([bytes(16), b"x" * 16, bytes(16)], pa.binary(16))

    def table(values: list[float]) -> TabularBenchmark:
        return TabularBenchmark(pa.table({"hash": keys, "test_accuracy": pa.array(values)}), "t")

    assert table([0.5, 0.6, 0.5]).rows([bytes(16)]).tolist() == [0]
    with pytest.raises(DataError, match="rows for one hash, with different values of test_acc"):
        table([0.5, 0.6, 0.7])


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"name": pa.array(["a"])}, "has columns name; it needs 'hash', 'arch' or 'genotype'"),
        ({"hash": pa.array(["ab" * 16])}, "must have 16 bytes in every row"),
        ({"hash": pa.array([None], pa.binary(16))}, "must have 16 bytes in every row"),
        ({"arch": pa.array([None], pa.string())}, "must have a string in every row"),
        (
            {"hash": pa.array([bytes(16)]), "test_accuracy": pa.array(["0.9"])},
            "accuracies of type string",
        ),
    ],
)
def test_what_is_no_table_is_refused(columns: dict[str, pa.Array], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        TabularBenchmark(pa.table(columns), "t")


def test_empty_table_has_no_architecture() -> None:
    table = TabularBenchmark(pa.table({"hash": pa.array([], pa.binary(16))}), "t")
    with pytest.raises(DataError, match="t has no rows"):
        table.rows([FIRST])


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no table .*none.parquet; give the path"):
        TabularBenchmark.open(tmp_path / "none.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"broken.parquet cannot be read as Parquet") as caught:
        TabularBenchmark.open(broken)
    assert "\n" not in str(caught.value)


def test_unknown_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"no column 'params'; it has hash, test_accuracy"):
        means().column("params")


def test_rows_of_one_key_are_one_architecture() -> None:
    keys = pa.array([b"x" * 16, bytes(16), b"x" * 16], pa.binary(16))
    table = TabularBenchmark(pa.table({"hash": keys, "test_accuracy": [0.5, 0.6, 0.5]}), "t")
    assert sorted(table.distinct_rows().tolist()) == [0, 1]
    empty = TabularBenchmark(pa.table({"hash": pa.array([], pa.binary(16))}), "t")
    assert empty.distinct_rows().tolist() == []


def test_a_row_is_described_by_the_string_that_finds_it() -> None:
    assert means().describe_row(1) == LAST.hash()
    assert arch_table().describe_row(0) == NB201.architecture(1).to_string()
    notation = {"parents": [FIRST.parents_string] * 2, "ops": [FIRST.ops_string] * 2}
    table = hash_table(**{name: pa.array(values) for name, values in notation.items()})
    assert table.describe_row(0) == FIRST.to_string()


def test_means_and_trials_are_told_apart() -> None:
    assert not means().has_trials(means().metric("test"))
    table = per_trial([[0.5], []])
    assert table.has_trials(table.metric("valid"))


@pytest.mark.parametrize(("space", "best"), [(S1, 5.79928), (S2, 6.03299)], ids=["s1", "s2"])
def test_real_tables_answer_for_their_whole_space(
    space: NB1Shot1Space, best: float, data_file: Callable[[str], Path]
) -> None:
    path = data_file(f"nasbench1shot1_{space.name}.parquet")
    table = TabularBenchmark.open(path)
    metric = table.metric("test", dataset="cifar10", epochs=108)
    errors = table.errors_percent(metric, space.hashes())
    stored = pq.read_table(path)["test_accuracy"].to_numpy().astype(np.float64)
    assert np.array_equal(errors, 100.0 - 100.0 * stored)
    assert errors.min() == pytest.approx(best, abs=1e-5)
    assert table.error_percent(metric, space.architecture(int(errors.argmin()))) == errors.min()


def test_real_nasbench201_table_answers_for_its_whole_space(
    data_file: Callable[[str], Path],
) -> None:
    table = TabularBenchmark.open(data_file("nasbench201.parquet"))
    metric = table.metric("test", epochs=200)
    accuracies = table.accuracies(metric, NB201)
    assert len(accuracies) == 15_625
    assert accuracies.max() == pytest.approx(94.373, abs=1e-3)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "cifar10_test_accuracy_200ep",
            [0.941, 0.7],
            r"must be in percent, and no value is above 1",
        ),
        ("cifar10_valid_accuracy_12ep", [1.0, 0.0], r"\(the largest is 1\); multiply fractions by"),
        (
            "svhn_test_accuracy_12ep",
            [np.nan, 0.9],
            r"the largest is 0.9\); multiply fractions by 1",
        ),
        (
            "cifar10_test_accuracy_12ep",
            [94.0, 100.5],
            r"has the accuracy 100.5; in percent it must",
        ),
        (
            "cifar10_test_accuracy_12ep",
            [94.0, -1.0],
            r"has the accuracy -1; in percent it must be 0",
        ),
        ("cifar10_test_accuracy_12ep", [94.0, np.inf], r"has the accuracy inf; in percent it must"),
    ],
)
def test_accuracies_out_of_their_unit_are_refused(
    column: str, values: list[float], message: str
) -> None:
    cells = [NB201.architecture(i).to_string() for i in (1, 0)]
    with pytest.raises(DataError, match=rf"^column '{column}' of t .*{message}"):
        TabularBenchmark(pa.table({"arch": cells, column: pa.array(values)}), "t")


def test_percent_in_a_column_of_fractions_is_refused() -> None:
    with pytest.raises(DataError, match=r"has the accuracy 94.1; in fraction it must be 0 to 1$"):
        hash_table(test_accuracy=pa.array([0.9, 94.1]))
    with pytest.raises(DataError, match=r"'valid_accuracy_108ep' of trials.parquet has the accura"):
        per_trial([[0.5, 0.9], [90.0]])


def test_a_column_without_a_value_has_no_unit_to_check() -> None:
    cells = [NB201.architecture(i).to_string() for i in (1, 0)]
    column = pa.array([None, None], pa.float64())
    table = TabularBenchmark(pa.table({"arch": cells, "cifar10_test_accuracy_12ep": column}), "t")
    assert len(table) == 2


def open_bytes(tmp_path: Path, table: pa.Table, change: tuple[bytes, bytes] = (b"", b"")) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(*change) if change[0] else path.read_bytes())
    TabularBenchmark.open(path)


ARCHS = [NB201.architecture(i).to_string() for i in (1, 0)]


@pytest.mark.parametrize(
    "values",
    [["94", "93"], [["94"], ["93"]], [[[94.0]], [[93.0]]], [{"a": 94.0}, {"a": 93.0}], [94, 93]],
    ids=["texts", "lists of texts", "lists of lists", "structs", "whole numbers"],
)
def test_accuracies_of_another_type_are_refused(tmp_path: Path, values: list[Any]) -> None:
    table = pa.table({"arch": ARCHS, "cifar10_test_accuracy_12ep": values})
    with pytest.raises(
        DataError, match=r"has accuracies of type .*; they must be floats, or lists"
    ):
        open_bytes(tmp_path, table)


@pytest.mark.parametrize("key", ["arch", "hash"])
@pytest.mark.parametrize(
    "values", [[1, 2], [["a"], ["b"]], [None, "a"], ["", "a"], [{"a": "b"}, {"a": "c"}]], ids=str
)
def test_keys_of_another_type_are_refused(tmp_path: Path, key: str, values: list[Any]) -> None:
    with pytest.raises(DataError, match=rf"column '{key}' of .*t.parquet must have"):
        open_bytes(tmp_path, pa.table({key: values}))


@pytest.mark.parametrize("where", ["name", "text"])
def test_what_is_not_utf_8_is_one_line(tmp_path: Path, where: str) -> None:
    table = pa.table({"arch": ["tttt", "uuuu"], "nnnn": [1, 2]})
    change = (b"nnnn" if where == "name" else b"tttt", b"\xff\xfe\xfd\xfc")
    with pytest.raises(DataError) as caught:
        open_bytes(tmp_path, table, change)
    assert "\n" not in str(caught.value)
    assert "t.parquet" in str(caught.value)


def test_a_column_that_is_there_twice_is_refused() -> None:
    table = pa.Table.from_arrays([pa.array(ARCHS)] * 2, ["arch", "arch"])
    with pytest.raises(DataError, match=r"^t has more than one column 'arch'; keep one$"):
        TabularBenchmark(table, "t")


def test_a_table_of_darts_cells_is_asked_in_any_notation() -> None:
    cell = Genotype.parse(DARTS_V2)
    spaced = json.dumps(cell.to_dict(), indent=1)
    columns = {"genotype": pa.array([spaced]), "cifar10_val_accuracy": pa.array([86.5])}
    table = TabularBenchmark(pa.table(columns), "t")
    (metric,) = table.metrics.values()
    keys: tuple[Genotype | str, ...] = (cell, cell.key, cell.to_json(), DARTS_V2)
    assert [table.accuracy(metric, key) for key in keys] == [86.5] * 4
    other = Genotype.parse(DARTS_V1)
    for key in (other, "nonsense"):
        with pytest.raises(DataError, match="t has no "):
            table.accuracy(metric, key)
    assert "1 architecture by DARTS genotype" in "\n".join(table_lines(table))
    assert "schedules: not stated" in table_lines(table)


@pytest.mark.parametrize("cell", ["nonsense", "{}", ""])
def test_a_table_of_what_are_no_darts_cells_is_refused(cell: str) -> None:
    columns = {"genotype": pa.array([cell]), "test_accuracy": pa.array([86.5])}
    with pytest.raises(DataError, match=r"t has no genotype|must have a string in every row"):
        TabularBenchmark(pa.table(columns), "t")
