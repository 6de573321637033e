"""Conversion of NATS-Bench data that the nats-bench package itself wrote, and through it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from nasi_ray.errors import DataError
from nasi_ray.spaces.nb201 import NB201
from nasi_ray.tables.natsbench import convert_natsbench
from nasi_ray.tables.tabular import TabularBenchmark
from tests.official_files import nats_accuracy, write_natsbench, write_old_nasbench201

ARCHS = [NB201.architecture(index).to_string() for index in (15_624, 7, 300)]


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """The same data as a file and as a folder."""
    pytest.importorskip(
        "nats_bench", reason="nats-bench is not installed: pip install 'nasi_ray[nats]'"
    )
    return write_natsbench(tmp_path, ARCHS)


@pytest.fixture
def folder(sources: tuple[Path, Path]) -> Path:
    return sources[1]


def test_every_trial_keeps_its_split_and_schedule(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "nats.parquet"
    assert convert_natsbench(folder, target, on_progress=lambda *d: seen.append(d)) == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]
    table = TabularBenchmark.open(target)
    assert table.column("index").tolist() == [0, 1, 2]
    assert table.column("arch").tolist() == ARCHS
    assert set(table.metrics) == {
        *(f"cifar10_{split}_accuracy_{n}ep" for split in ("valid", "test") for n in (12, 200)),
        *(f"cifar100_{split}_accuracy_200ep" for split in ("valid", "test")),
        *(f"imagenet16_120_{split}_accuracy_200ep" for split in ("valid", "test")),
    }
    for epochs in (12, 200):
        for split, name, images in (
            ("valid", "cifar10-valid", "x-valid"),
            ("test", "cifar10", "ori-test"),
        ):
            metric = table.metrics[f"cifar10_{split}_accuracy_{epochs}ep"]
            assert (metric.split, metric.epochs, metric.unit) == (split, epochs, "percent")
            assert table.trials(metric).tolist() == [
                [nats_accuracy(i, name, images, seed, epochs - 1) for seed in (777, 888)]
                for i in range(3)
            ]


def test_what_an_architecture_lacks_stays_missing(folder: Path, tmp_path: Path) -> None:
    convert_natsbench(folder, tmp_path / "nats.parquet")
    table = TabularBenchmark.open(tmp_path / "nats.parquet")
    for split, images in (("valid", "x-valid"), ("test", "x-test")):
        metric = table.metrics[f"imagenet16_120_{split}_accuracy_200ep"]
        expected = nats_accuracy(2, "ImageNet16-120", images, 777, 199)
        assert table.accuracy(metric, ARCHS[2]) == expected
        with pytest.raises(DataError, match="of 1 of 1 architectures"):
            table.accuracy(metric, ARCHS[1])


def test_all_formats_give_the_same_table(sources: tuple[Path, Path], tmp_path: Path) -> None:
    old = write_old_nasbench201(tmp_path, ARCHS)
    for source, name in zip((*sources, old), ("file", "folder", "old"), strict=True):
        convert_natsbench(source, tmp_path / name)
    assert (tmp_path / "file").read_bytes() == (tmp_path / "folder").read_bytes()
    assert (tmp_path / "file").read_bytes() == (tmp_path / "old").read_bytes()


def test_a_broken_old_file_is_refused(sources: tuple[Path, Path], tmp_path: Path) -> None:
    old = write_old_nasbench201(tmp_path, ARCHS)
    whole = old.read_bytes()
    for broken in (whole[:-40], b"", b"no archive"):
        old.write_bytes(broken)
        assert "or NAS-Bench-201-v1_*.pth), or fetch it again" in refusal(old, tmp_path)
    torch.save({"meta_archs": [], "params": 1}, old)
    assert "KeyError: 'arch2infos'" in refusal(old, tmp_path)
    torch.save({"meta_archs": ARCHS, "arch2infos": {0: {}}}, old)
    assert "architecture 0 has no readable 12-epoch data" in refusal(old, tmp_path)


def refusal(source: Path, tmp_path: Path) -> str:
    target = tmp_path / "nats.parquet"
    target.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError) as caught:
        convert_natsbench(source, target)
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_broken_and_missing_parts_are_named(folder: Path, tmp_path: Path) -> None:
    part = folder / "000001.pickle.pbz2"
    whole = part.read_bytes()
    for broken in (whole[:-40], b"", b"no bzip2"):
        part.write_bytes(broken)
        assert "architecture 1 has no readable 12-epoch data" in refusal(folder, tmp_path)
    part.unlink()
    assert "architecture 1 has no readable 12-epoch data" in refusal(folder, tmp_path)
    (folder / "meta.pickle.pbz2").unlink()
    assert "cannot be read as NATS-Bench's topology data" in refusal(folder, tmp_path)


def test_files_of_another_kind_are_refused(sources: tuple[Path, Path], tmp_path: Path) -> None:
    source = sources[0]
    source.write_bytes(source.read_bytes()[:-40])
    assert "give NATS-tss-v1_0-*.pickle.pbz2 or the folder" in refusal(source, tmp_path)
    source.write_bytes(b"no bzip2")
    assert "give NATS-tss-v1_0-*.pickle.pbz2 or the folder" in refusal(source, tmp_path)


def test_the_size_space_is_refused(folder: Path, tmp_path: Path) -> None:
    api = pytest.importorskip("nats_bench.api_utils")
    api.pickle_save({"meta_archs": ["8:8:8:8:8"]}, folder / "meta.pickle")
    assert "is not NATS-Bench's topology data (NATS-tss-*)" in refusal(folder, tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("epochs", 90, "it was trained 90 epochs"),
        ("eval_acc1es", {"x-valid@11": 101.0}, "an accuracy is 101.0; it must be 0 to 100"),
        ("eval_acc1es", {"x-valid@11": float("nan")}, "an accuracy is nan"),
        ("eval_acc1es", {"ori-test@11": 1.0}, "x-valid@11"),
    ],
)
def test_what_is_no_accuracy_of_the_schedule_is_refused(
    folder: Path, tmp_path: Path, field: str, value: object, reason: str
) -> None:
    api = pytest.importorskip("nats_bench.api_utils")
    info = api.pickle_load(folder / "000002.pickle.pbz2")
    info["12"]["all_results"]["cifar10-valid", 888][field] = value
    api.pickle_save(info, folder / "000002.pickle")
    line = refusal(folder, tmp_path)
    assert "architecture 2 has no readable cifar10-valid x-valid accuracy after 12 epochs" in line
    assert reason in line


def test_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    assert "package: pip install 'nasi_ray[nats]'" in refusal(tmp_path, tmp_path)


def test_missing_source_is_named(tmp_path: Path) -> None:
    assert "none.pbz2; give a file or folder" in refusal(tmp_path / "none.pbz2", tmp_path)
