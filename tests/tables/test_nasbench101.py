from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import DataError
from nasi_ray.spaces.graph import hash_cell
from nasi_ray.tables.nasbench101 import convert_nasbench101
from nasi_ray.tables.tabular import TabularBenchmark

# Chains input -> op -> output.
CHAIN = "010001000"
CONV = "input,conv3x3-bn-relu,output"
POOL = "input,maxpool3x3,output"


def hash_of(ops: str) -> str:
    matrix = np.array(list(CHAIN), dtype=np.int8).reshape(3, 3)
    return hash_cell(matrix, ops.split(","))


@pytest.fixture
def records(official: Any) -> list[bytes]:
    """Two architectures at two schedules; trials of one are not next to each other."""
    conv, pool = hash_of(CONV), hash_of(POOL)
    return [
        official.trial(conv, 4, CHAIN, CONV, 0.5, 0.25),
        official.trial(pool, 4, CHAIN, POOL, 0.125, 0.0625, trainable_parameters=100),
        official.trial(conv, 108, CHAIN, CONV, 0.9375, 0.90625),
        official.trial(conv, 4, CHAIN, CONV, 0.75, 0.375),
        official.trial(conv, 108, CHAIN, CONV, 0.875, 0.8125),
        official.trial(pool, 4, CHAIN, POOL, 0.375, 0.1875),
    ]


@pytest.fixture
def source(tmp_path: Path, official: Any, records: list[bytes]) -> Path:
    path = tmp_path / "nasbench.tfrecord"
    path.write_bytes(b"".join(map(official.frame, records)))
    return path


def test_every_trial_of_every_schedule_is_kept(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "table.parquet"
    assert convert_nasbench101(source, target) == 2
    rows = pq.read_table(target).to_pylist()
    assert rows == [
        {
            "hash": bytes.fromhex(hash_of(CONV)),
            "matrix": CHAIN,
            "ops": CONV,
            "params": 8_555_530,
            "valid_accuracy_4ep": [0.5, 0.75],
            "test_accuracy_4ep": [0.25, 0.375],
            "training_time_4ep": [8.0, 8.0],
            "valid_accuracy_108ep": [0.9375, 0.875],
            "test_accuracy_108ep": [0.90625, 0.8125],
            "training_time_108ep": [216.0, 216.0],
        },
        {
            "hash": bytes.fromhex(hash_of(POOL)),
            "matrix": CHAIN,
            "ops": POOL,
            "params": 100,
            "valid_accuracy_4ep": [0.125, 0.375],
            "test_accuracy_4ep": [0.0625, 0.1875],
            "training_time_4ep": [8.0, 8.0],
            "valid_accuracy_108ep": [],
            "test_accuracy_108ep": [],
            "training_time_108ep": [],
        },
    ]


def test_converted_table_says_what_its_numbers_are(source: Path, tmp_path: Path) -> None:
    convert_nasbench101(source, tmp_path / "table.parquet")
    table = TabularBenchmark.open(tmp_path / "table.parquet")
    assert set(table.metrics) == {
        f"{split}_accuracy_{epochs}ep" for split in ("valid", "test") for epochs in (4, 108)
    }
    metric = table.metric("valid", epochs=4)
    assert (metric.unit, metric.dataset, metric.num_trials) == ("fraction", "cifar10", 2)
    assert table.accuracy(metric, hash_of(CONV)) == 0.625
    assert table.metric("test", epochs=108).num_trials is None
    with pytest.raises(DataError, match="more than one validation accuracy"):
        table.metric("valid")


def test_progress_ends_at_the_whole_file(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert_nasbench101(
        source, tmp_path / "table.parquet", on_progress=lambda *done: seen.append(done)
    )
    size = source.stat().st_size
    assert seen == [(0, size), (size, size)]


def test_broken_file_is_named_and_leaves_the_old_table(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "table.parquet"
    target.write_bytes(b"old")
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"nasbench.tfrecord: record 5 at byte \d+ is cut off"):
        convert_nasbench101(source, target)
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nasbench.tfrecord", "table.parquet"]


def spoil(record: bytes, position: int, value: Any) -> bytes:
    fields = json.loads(record)
    fields[position] = value
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (0, "00" * 16, "its hash is 0000.*, but its cell's is"),
        (0, "zz" * 16, "non-hexadecimal"),
        (0, "00", "does not have 32 characters"),
        (1, "4", "it must be \\[hash, epochs"),
        (1, 0, "epochs are 0; allowed: 1 to"),
        (1, 12, "end at epoch 4.0 of 12"),
        (2, "0100", "is not a matrix of 3 vertices"),
        (2, "010001002", "is not a matrix of 3 vertices"),
        (2, "010000000", "no path from its input"),
        (3, "input,conv5x5,output", "unknown operation 'conv5x5'"),
        (4, "not base64!", "record 1 at byte"),
        (4, "", "no evaluation_data or no trainable_parameters"),
    ],
)
def test_records_that_are_no_trials_are_named(
    source: Path,
    tmp_path: Path,
    official: Any,
    records: list[bytes],
    position: int,
    value: Any,
    reason: str,
) -> None:
    broken = official.frame(records[0]) + official.frame(spoil(records[1], position, value))
    source.write_bytes(broken)
    with pytest.raises(DataError, match=reason) as caught:
        convert_nasbench101(source, tmp_path / "table.parquet")
    assert f"record 1 at byte {len(official.frame(records[0]))} " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1, 2]", b"\xff\xfe", b"not JSON"])
def test_records_that_are_no_json_list_are_named(
    source: Path, tmp_path: Path, official: Any, data: bytes
) -> None:
    source.write_bytes(official.frame(data))
    with pytest.raises(DataError, match="record 0 at byte 0 is not a NAS-Bench-101 trial"):
        convert_nasbench101(source, tmp_path / "table.parquet")


@pytest.mark.parametrize("accuracy", [1.5, -0.1, float("nan")])
def test_impossible_accuracies_are_refused(
    source: Path, tmp_path: Path, official: Any, accuracy: float
) -> None:
    record = official.trial(hash_of(CONV), 4, CHAIN, CONV, accuracy, 0.5)
    source.write_bytes(official.frame(record))
    with pytest.raises(DataError, match=r"record 0 at byte 0 .* an accuracy is"):
        convert_nasbench101(source, tmp_path / "table.parquet")


def test_missing_empty_and_unwritable_files_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*none.tfrecord; give a file"):
        convert_nasbench101(tmp_path / "none.tfrecord", tmp_path / "table.parquet")
    with pytest.raises(DataError, match=r"none/table.parquet cannot be written"):
        convert_nasbench101(source, tmp_path / "none" / "table.parquet")
    source.write_bytes(b"")
    with pytest.raises(DataError, match=r"nasbench.tfrecord has no records"):
        convert_nasbench101(source, tmp_path / "table.parquet")
