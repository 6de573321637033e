"""CIFAR by name: files in torchvision's layout, and no network."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from nasi_ray.data import torchvision_sets
from nasi_ray.data.load import load_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NASI_DATA_ROOT", str(tmp_path / "sets"))
    return tmp_path / "sets"


def _write(folder: Path, name: str, content: dict[str, Any]) -> str:
    """Write one file of the data set as its authors did; returns the MD5 sum."""
    folder.mkdir(parents=True, exist_ok=True)
    # The real files were pickled by an older numpy, which had its core elsewhere.
    data = pickle.dumps(content, protocol=2).replace(b"numpy._core", b"numpy.core")
    (folder / name).write_bytes(data)
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("name", "label_key", "names_key", "num_classes"),
    [
        ("CIFAR10", "labels", "label_names", 10),
        ("CIFAR100", "fine_labels", "fine_label_names", 100),
    ],
)
def test_files_in_the_data_root_are_read(
    data_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    label_key: str,
    names_key: str,
    num_classes: int,
) -> None:
    dataset = getattr(datasets, name)
    folder = data_root / dataset.base_folder
    rng = np.random.default_rng(0)
    rows = {split: rng.integers(0, 256, (5, 3072), dtype=np.uint8) for split in ("train", "test")}
    for split, data in rows.items():
        md5 = _write(folder, split, {"data": data, label_key: [0, 1, 2, 3, num_classes - 1]})
        monkeypatch.setattr(dataset, f"{split}_list", [[split, md5]])
    md5 = _write(folder, "names", {names_key: [str(i) for i in range(num_classes)]})
    monkeypatch.setattr(dataset, "meta", {"filename": "names", "key": names_key, "md5": md5})

    for split, data in rows.items():
        loaded = load_images(name, options=ReadOptions(split=split), image_size=32)
        np.testing.assert_array_equal(loaded.images, data.reshape(5, 3, 32, 32), strict=True)
        assert loaded.labels.tolist() == [0, 1, 2, 3, num_classes - 1]
        assert (loaded.num_classes, loaded.source) == (num_classes, name)
        assert loaded.summary.startswith(f"split {split}; {num_classes} classes (labels 0 to ")
    assert load_images(name, image_size=16).images.shape == (5, 3, 16, 16)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_no_network_says_where_the_files_go_and_what_else_there_is(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", unreachable)
    with pytest.raises(DataError) as caught:
        load_images(name, image_size=32)
    message = str(caught.value)
    folder = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}[name]
    assert message.startswith(f"{name}: not in {data_root} and cannot be downloaded (<urlopen")
    assert str(data_root / folder) in message
    for hint in ("-python.tar.gz", "NASI_DATA_ROOT", "random", "Parquet", "image folder"):
        assert hint in message
    assert "\n" not in message


def test_unknown_split_is_refused(data_root: Path) -> None:
    with pytest.raises(DataError, match=r"^CIFAR10: no split 'val'; it has train, test$"):
        load_images("CIFAR10", options=ReadOptions(split="val"), image_size=32)


def test_root_is_the_cache_unless_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NASI_DATA_ROOT", raising=False)
    assert torchvision_sets.data_root() == tmp_path / ".cache" / "nasi_ray"
    monkeypatch.setenv("NASI_DATA_ROOT", "~/sets")
    assert torchvision_sets.data_root() == tmp_path / "sets"
