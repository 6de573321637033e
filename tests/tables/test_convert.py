from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import DataError
from nasi_ray.spaces.graph import hash_cell
from nasi_ray.tables import TabularBenchmark
from nasi_ray.tables.convert import convert_nasbench101, convert_natsbench

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
        (1, "4", "needed is \\[hash, epochs"),
        (1, 0, "epochs are 0; allowed are 1 to"),
        (1, 12, "end at epoch 4.0 of 12"),
        (2, "0100", "is no matrix of 3 vertices"),
        (2, "010001002", "is no matrix of 3 vertices"),
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
    with pytest.raises(DataError, match=r"none.tfrecord cannot be read: No such file"):
        convert_nasbench101(tmp_path / "none.tfrecord", tmp_path / "table.parquet")
    with pytest.raises(DataError, match=r"none/table.parquet cannot be written"):
        convert_nasbench101(source, tmp_path / "none" / "table.parquet")
    source.write_bytes(b"")
    with pytest.raises(DataError, match=r"nasbench.tfrecord has no records"):
        convert_nasbench101(source, tmp_path / "table.parquet")


class FakeRun:
    def __init__(self, accuracies: dict[str, float]) -> None:
        self._accuracies = accuracies

    def get_eval(self, name: str) -> dict[str, float]:
        return {"accuracy": self._accuracies[name], "loss": 0.0}


class FakeInfo:
    def __init__(self, runs: dict[str, dict[int, FakeRun]]) -> None:
        self._runs = runs

    def get_dataset_names(self) -> list[str]:
        return list(self._runs)

    def query(self, dataset: str) -> dict[int, FakeRun]:
        return self._runs[dataset]


class FakeApi:
    """The part of nats-bench 1.8's topology API that is used."""

    archs = (
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    )

    def __len__(self) -> int:
        return len(self.archs)

    def arch(self, index: int) -> str:
        return self.archs[index]

    def query_meta_info_by_index(self, arch_index: int, hp: str) -> FakeInfo:
        epochs = {"12": 12, "200": 200}[hp]
        valid = FakeRun({"x-valid": 40.0 + arch_index, "ori-test": 1.0})
        test = FakeRun({"ori-test": epochs / 4})
        runs = {"cifar10-valid": {888: valid, 777: FakeRun({"x-valid": 30.0})}}
        runs["cifar10"] = {777: test}
        if epochs == 200 and arch_index == 1:
            runs["cifar100"] = {777: FakeRun({"x-valid": 7.0, "x-test": 8.0, "ori-test": 9.0})}
        return FakeInfo(runs)


@pytest.fixture
def natsbench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A source that the stand-in for the package accepts."""
    path = tmp_path / "NATS-tss-v1_0-test-simple"
    path.mkdir()

    def create(file: str, space: str, *, fast_mode: bool, verbose: bool) -> FakeApi:
        assert (file, space, fast_mode, verbose) == (str(path), "tss", True, False)
        return FakeApi()

    package = types.ModuleType("nats_bench")
    package.__dict__["create"] = create
    monkeypatch.setitem(sys.modules, "nats_bench", package)
    return path


def test_natsbench_trials_keep_split_and_schedule(natsbench: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "nats.parquet"
    assert convert_natsbench(natsbench, target, on_progress=lambda *d: seen.append(d)) == 2
    assert seen == [(1, 2), (2, 2)]
    table = TabularBenchmark.open(target)
    assert table.column("index").tolist() == [0, 1]
    assert len(table.metrics) == 6
    valid = table.metric("valid", dataset="cifar10", epochs=12)
    assert table.trials(valid).tolist() == [[30.0, 40.0], [30.0, 41.0]]
    test = table.metric("test", dataset="cifar10", epochs=200)
    assert table.error_percent(test, FakeApi.archs[0]) == 50.0
    halves = [table.metric(split, dataset="cifar100") for split in ("valid", "test")]
    assert [table.accuracy(metric, FakeApi.archs[1]) for metric in halves] == [7.0, 8.0]
    with pytest.raises(DataError, match="of 1 of 1 architectures"):
        table.accuracy(halves[0], FakeApi.archs[0])


def test_natsbench_without_an_evaluation_is_refused(
    natsbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = FakeInfo({"cifar10": {777: FakeRun({"x-valid": 1.0})}})
    monkeypatch.setattr(FakeApi, "query_meta_info_by_index", lambda *_, hp: info)
    with pytest.raises(DataError, match="architecture 0 has no cifar10 ori-test accuracy after 12"):
        convert_natsbench(natsbench, tmp_path / "nats.parquet")


def test_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    with pytest.raises(DataError, match="needs the nats-bench package: pip install nats-bench"):
        convert_natsbench(tmp_path, tmp_path / "nats.parquet")


def test_missing_natsbench_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*none.pbz2; give NATS-Bench's file"):
        convert_natsbench(tmp_path / "none.pbz2", tmp_path / "nats.parquet")
