"""load_images: which source is meant, and messages that say what could be."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from nasi_ray.data import folder
from nasi_ray.data.load import load_images
from nasi_ray.errors import DataError, UnknownNameError
from tests.data.encoded import png, write_parquet


def test_unknown_name_lists_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError) as caught:
        load_images("cifar", image_size=8)
    message = str(caught.value)
    assert message.startswith("unknown data source 'cifar'; choose one of CIFAR10, CIFAR100, ")
    for source in ("a Parquet file or directory", "an image folder (class/file)", "random"):
        assert source in message


@pytest.mark.parametrize(
    "source", ["/no/such/dir", "./x", "~/no-such-dir-here", "a/b", "a.parquet"]
)
def test_path_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^no such file or directory: {source}; data can be rand"):
        load_images(source, image_size=8)


def test_uri_is_refused() -> None:
    with pytest.raises(DataError, match=r"^data 'gs://b/x' is neither a path nor s3://bucket/pre"):
        load_images("gs://b/x", image_size=8)


def test_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r": the directory is empty; data can be random, CIFAR10,"):
        load_images(str(tmp_path), image_size=8)


def test_home_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "set" / "a.parquet", [png(0), png(1)], [0, 1])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    digests = {load_images(s, image_size=8).digest for s in ("~/set", "set", "./set/a.parquet")}
    assert len(digests) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_directory_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match=r"/closed: cannot be read \(.*Permission denied"):
        load_images(str(tmp_path / "closed"), image_size=8)


def test_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(png(0))

    def refuse(path: str, limit: int) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folder, "read_data", refuse)
    with pytest.raises(DataError, match=r": cannot be read \(.*Permission denied: '.*/a/x.png'\)"):
        load_images(str(tmp_path), image_size=8)


def test_random_is_not_loaded_and_size_is_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="random data are drawn, not loaded"):
        load_images("random", image_size=8)
    with pytest.raises(ValueError, match="image_size is 0; it must be at least 1"):
        load_images(str(tmp_path), image_size=0)


@pytest.mark.parametrize(
    ("files", "source", "how"),
    [
        (["data-00000-of-00001.arrow", "state.json"], "", "load_from_disk(DIRECTORY).to_parquet("),
        (
            ["dataset_dict.json", "train/data.arrow", "train/state.json", "test/data.arrow"],
            "",
            "load_from_disk(DIRECTORY)['train'].to_parquet(",
        ),
        (["cifar10-train.arrow", "dataset_info.json"], "", "Dataset.from_file(FILE).to_parquet("),
        (["x/cifar10-train.ARROW"], "x/cifar10-train.ARROW", "Dataset.from_file(FILE).to_parquet("),
    ],
)
def test_arrow_is_refused_with_how_to_make_parquet(
    tmp_path: Path, files: list[str], source: str, how: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"ARROW1")
    with pytest.raises(DataError, match=rf": Arrow files are not suppo.*{re.escape(how)}NEW_FILE"):
        load_images(str(tmp_path / source), image_size=8)


def test_class_folders_beside_an_arrow_file_are_read(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(png(seed))
    (tmp_path / "old.arrow").write_bytes(b"ARROW1")
    data = load_images(str(tmp_path), image_size=8)
    assert "left out: 1 .arrow" in data.summary


@pytest.mark.parametrize("name", ["cifar10", "Cifar10", "CIFAR-10"])
def test_a_name_that_is_nearly_right_gets_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match=r"; did you mean CIFAR10\?$"):
        load_images(name, image_size=8)
    with pytest.raises(UnknownNameError, match=r", random$"):
        load_images("zzz", image_size=8)
