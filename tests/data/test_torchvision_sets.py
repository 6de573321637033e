"""Sets by name: files in torchvision's layouts, and no network."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from torchvision import datasets

from nasi_ray.data import torchvision_sets
from nasi_ray.data.load import load_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.sources import SOURCES
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


def idx(values: npt.NDArray[np.uint8]) -> bytes:
    """MNIST's file format: a magic number, the sizes, the bytes."""
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


MNIST_FILES = {
    "MNIST": ("MNIST/raw", "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"),
    "FashionMNIST": ("FashionMNIST/raw", "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"),
    "KMNIST": ("KMNIST/raw", "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"),
    **{
        f"EMNIST-{part}": (
            "EMNIST/raw",
            f"emnist-{part}-{{}}-images-idx3-ubyte",
            f"emnist-{part}-{{}}-labels-idx1-ubyte",
        )
        for part in ("balanced", "letters", "digits")
    },
}


def write_mnist(root: Path, name: str) -> dict[str, npt.NDArray[np.uint8]]:
    folder, images, labels = MNIST_FILES[name]
    (root / folder).mkdir(parents=True)
    pixels = {}
    for seed, split in enumerate(("train", "test")):
        prefix = split if name.startswith("EMNIST") else {"train": "train", "test": "t10k"}[split]
        rng = np.random.default_rng(seed)
        pixels[split] = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
        (root / folder / images.format(prefix)).write_bytes(idx(pixels[split]))
        values = np.array([1, 2, 9, 1], dtype=np.uint8)
        (root / folder / labels.format(prefix)).write_bytes(idx(values))
    return pixels


@pytest.mark.parametrize("name", MNIST_FILES)
def test_the_family_of_mnist_is_read(data_root: Path, name: str) -> None:
    pixels = write_mnist(data_root, name)
    for split, grey in pixels.items():
        loaded = load_images(name, options=ReadOptions(split=split), image_size=28)
        np.testing.assert_array_equal(loaded.images, np.repeat(grey[:, None], 3, axis=1))
        assert loaded.labels.tolist() == [1, 2, 9, 1]
        assert loaded.num_classes == {"EMNIST-balanced": 47, "EMNIST-letters": 27}.get(name, 10)
        assert loaded.summary.startswith(f"split {split}; {loaded.num_classes} classes (labels 1 t")
    assert load_images(name, image_size=32).images.shape == (4, 3, 32, 32)


def test_svhn_is_read(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, md5s = {}, {}
    data_root.mkdir(parents=True)
    for seed, split in enumerate(("train", "test", "extra")):
        pixels[split] = np.random.default_rng(seed).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
        path = data_root / f"{split}_32x32.mat"
        labels = np.array([[10], [1], [9]], dtype=np.uint8)  # 10 stands for the digit 0
        scipy.io.savemat(path, {"X": pixels[split].transpose(2, 3, 1, 0), "y": labels})
        md5s[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", md5s)
    for split, expected in pixels.items():
        loaded = load_images("SVHN", options=ReadOptions(split=split), image_size=32)
        np.testing.assert_array_equal(loaded.images, expected)
        assert loaded.labels.tolist() == [0, 1, 9]
        assert loaded.summary.startswith(f"split {split}; 10 classes (labels 0 to 9)")


def test_stl10_is_read(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data_root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("\n".join("abcdefghij") + "\n")
    pixels, lists = {}, {}
    for seed, split in enumerate(("train", "test")):
        pixels[split] = np.random.default_rng(seed).integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
        # Columns first, and labels from 1.
        (folder / f"{split}_X.bin").write_bytes(pixels[split].transpose(0, 1, 3, 2).tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes([1, 10, 4]))
        lists[split] = [
            [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]
            for name in (f"{split}_X.bin", f"{split}_y.bin")
        ]
    monkeypatch.setattr(datasets.STL10, "train_list", lists["train"])
    monkeypatch.setattr(datasets.STL10, "test_list", lists["test"])
    for split, expected in pixels.items():
        loaded = load_images("STL10", options=ReadOptions(split=split), image_size=96)
        np.testing.assert_array_equal(loaded.images, expected)
        assert loaded.labels.tolist() == [0, 9, 3]
        assert "10 classes (labels 0 to 9, a to j)" in loaded.summary


SETS = ["CIFAR10", "CIFAR100", *MNIST_FILES, "SVHN", "STL10"]


def test_every_own_source_is_tested() -> None:
    assert [name for name in SOURCES.names() if name in SOURCES._own] == SETS


@pytest.mark.parametrize("name", SETS)
def test_no_network_says_where_the_files_of_every_set_go(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    for module in (datasets.cifar, datasets.mnist, datasets.stl10):
        monkeypatch.setattr(module, "download_and_extract_archive", unreachable)
    monkeypatch.setattr(datasets.svhn, "download_url", unreachable)
    with pytest.raises(DataError) as caught:
        load_images(name, image_size=32)
    message = str(caught.value)
    assert message.startswith(f"{name}: not in {data_root} and cannot be downloaded (")
    assert message.count(str(data_root)) >= 2
    assert "{" not in message


@pytest.mark.parametrize("damage", ["cut", "text", "other labels", "pipe"])
def test_broken_files_are_one_line(data_root: Path, damage: str) -> None:
    write_mnist(data_root, "MNIST")
    images = data_root / "MNIST/raw/train-images-idx3-ubyte"
    match damage:
        case "cut":
            images.write_bytes(images.read_bytes()[:500])
        case "text":
            images.write_bytes(b"<html>")
        case "other labels":
            labels = np.array([1, 2], dtype=np.uint8)
            images.with_name("train-labels-idx1-ubyte").write_bytes(idx(labels))
        case _:
            images.unlink()
            os.mkfifo(images)
    with pytest.raises(DataError) as caught:
        load_images("MNIST", image_size=28)
    assert str(caught.value).startswith("MNIST: ")
    assert "\n" not in str(caught.value)
