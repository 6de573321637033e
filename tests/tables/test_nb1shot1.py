from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import DataError
from nasi_ray.spaces.nb1shot1 import S1, S2, S3, NB1Shot1Space
from nasi_ray.spaces.nb201 import NB201
from nasi_ray.tables.nasbench101 import convert_nasbench101
from nasi_ray.tables.nb1shot1 import convert_nb1shot1
from nasi_ray.tables.tabular import TabularBenchmark
from tests.official_files import trials_of_space, write_nasbench101

# Small: 2 x 3 x 9 configurations.
TINY = NB1Shot1Space("tiny", (1, 1, 2))


@pytest.fixture
def nasbench101(tmp_path: Path) -> Path:
    source = write_nasbench101(tmp_path / "nasbench.tfrecord", trials_of_space(TINY))
    convert_nasbench101(source, tmp_path / "nasbench101.parquet")
    return tmp_path / "nasbench101.parquet"


def test_every_configuration_has_the_numbers_of_its_cell(nasbench101: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.parquet"
    assert convert_nb1shot1(nasbench101, target, TINY) == TINY.num_architectures
    rows = pq.read_table(target).to_pylist()
    ranks = {digest: i for i, digest in enumerate(sorted({a.hash() for a in TINY}))}
    assert 1 < len(ranks) < len(rows)
    assert rows == [
        {
            "parents": architecture.parents_string,
            "ops": architecture.ops_string,
            "hash": bytes.fromhex(architecture.hash()),
            "valid_accuracy_108ep": [0.5],
            "test_accuracy_108ep": [ranks[architecture.hash()] / 100_000],
        }
        for architecture in TINY
    ]


def test_joined_table_keeps_split_and_schedule(nasbench101: Path, tmp_path: Path) -> None:
    convert_nb1shot1(nasbench101, tmp_path / "tiny.parquet", TINY)
    joined = TabularBenchmark.open(tmp_path / "tiny.parquet")
    assert joined.metrics == TabularBenchmark.open(nasbench101).metrics
    metric = joined.metric("valid")
    assert (metric.split, metric.epochs) == ("valid", 108)
    assert joined.accuracy(metric, TINY.architecture(3)) == 0.5


def test_missing_configurations_are_counted(tmp_path: Path) -> None:
    source = write_nasbench101(tmp_path / "nasbench.tfrecord", trials_of_space(TINY, skip=2))
    convert_nasbench101(source, tmp_path / "nasbench101.parquet")
    absent = sorted({a.hash() for a in TINY})[:2]
    count = sum(a.hash() in absent for a in TINY)
    reason = f"tiny needs all .* {count} of the {TINY.num_architectures} architectures asked"
    with pytest.raises(DataError, match=reason):
        convert_nb1shot1(tmp_path / "nasbench101.parquet", tmp_path / "tiny.parquet", TINY)
    assert not (tmp_path / "tiny.parquet").exists()


def test_tables_that_are_no_nasbench101_are_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "table.parquet", tmp_path / "s1.parquet"
    arch = {"arch": [NB201.architecture(0).to_string()], "cifar10_test_accuracy_200ep": [10.0]}
    for columns in (arch, {"hash": pa.array([bytes(16)], pa.binary(16))}):
        pq.write_table(pa.table(columns), source)
        with pytest.raises(DataError, match="has no NAS-Bench-101 hashes with accuracies"):
            convert_nb1shot1(source, target, S1)


@pytest.mark.parametrize("space", [S1, S2], ids=["s1", "s2"])
def test_the_real_tables_are_made_again(
    space: NB1Shot1Space, data_file: Callable[[str], Path], tmp_path: Path
) -> None:
    source = data_file(f"nasbench1shot1_{space.name}.parquet")
    real = pq.read_table(source)
    first = np.unique(np.array(real["hash"].to_pylist()), return_index=True)[1]
    pq.write_table(real.select(["hash", "test_accuracy"]).take(first), tmp_path / "cells.parquet")
    convert_nb1shot1(tmp_path / "cells.parquet", tmp_path / "made.parquet", space)
    assert pq.read_table(tmp_path / "made.parquet").equals(real)


@pytest.mark.slow
def test_s3_has_the_stated_number_of_distinct_cells(tmp_path: Path) -> None:
    cells = np.unique(S3.hashes(), axis=0)
    assert len(cells) == 55_854
    columns = {
        "hash": pa.array([row.tobytes() for row in cells], pa.binary(16)),
        "test_accuracy": np.arange(len(cells)) / len(cells),
    }
    pq.write_table(pa.table(columns), tmp_path / "cells.parquet")
    assert convert_nb1shot1(tmp_path / "cells.parquet", tmp_path / "s3.parquet", S3) == 1_312_200
    table = TabularBenchmark.open(tmp_path / "s3.parquet")
    for index in (0, 700_000, 1_312_199):
        architecture = S3.architecture(index)
        assert table.describe_row(index) == architecture.to_string()
        key = np.frombuffer(bytes.fromhex(architecture.hash()), np.uint8)
        position = int(np.flatnonzero((cells == key).all(axis=1))[0])
        assert table.accuracy(table.metric("test"), architecture) == position / len(cells)
