"""Data sets by name, through torchvision: read where they are, downloaded where they are not."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasi_ray.data.decode import allocate, fit
from nasi_ray.data.image_set import ImageSet, make_image_set
from nasi_ray.errors import DataError
from nasi_ray.files import open_regular, user_path

ROOT_VARIABLE = "NASI_DATA_ROOT"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Set:
    """How torchvision has a data set."""

    kind: str
    """Its class."""
    files: str
    """Pattern of its files below the root."""
    needed: str
    """What there must be, for the message."""
    splits: tuple[str, ...] = ("train", "test")
    has_train_flag: bool = True
    """Whether it takes ``train=``, and not ``split=``."""
    options: Mapping[str, Any] = field(default_factory=dict)


_SETS = {
    "CIFAR10": _Set(
        kind="CIFAR10",
        files="cifar-10-batches-py/*",
        needed="unpack cifar-10-python.tar.gz so that {root}/cifar-10-batches-py exists",
    ),
    "CIFAR100": _Set(
        kind="CIFAR100",
        files="cifar-100-python/*",
        needed="unpack cifar-100-python.tar.gz so that {root}/cifar-100-python exists",
    ),
    **{
        name: _Set(
            kind=name,
            files=f"{name}/*/*",
            needed=f"unpack its four files to {{root}}/{name}/raw (train-images-idx3-ubyte, ...)",
        )
        for name in ("MNIST", "FashionMNIST", "KMNIST")
    },
    **{
        f"EMNIST-{part}": _Set(
            kind="EMNIST",
            files="EMNIST/*/*",
            needed=f"unpack {{root}}/EMNIST/raw/emnist-{part}-train-images-idx3-ubyte and the rest",
            options={"split": part},
        )
        for part in ("balanced", "letters", "digits")
    },
    "SVHN": _Set(
        kind="SVHN",
        files="*_32x32.mat",
        needed="put {split}_32x32.mat into {root}",
        splits=("train", "test", "extra"),
        has_train_flag=False,
    ),
    "STL10": _Set(
        kind="STL10",
        files="stl10_binary/*",
        needed="unpack stl10_binary.tar.gz so that {root}/stl10_binary exists",
        has_train_flag=False,
    ),
}


def data_root() -> Path:
    """Where named data sets are kept: ``$NASI_DATA_ROOT``, else ``~/.cache/nasi_ray``."""
    return user_path(os.environ.get(ROOT_VARIABLE) or "~/.cache/nasi_ray")


def set_files(name: str) -> list[Path]:
    """The files of a set that are there, sorted; none of a name that is no set here."""
    return sorted(data_root().glob(_SETS[name].files)) if name in _SETS else []


def read_set(name: str, *, image_size: int, split: str) -> ImageSet:
    """Read a set under ``data_root()``; download it if it is missing.

    Args:
        name: Of one of the sets above.
        image_size: Height and width S in pixels; images of another size are fitted.
        split: ``train`` or ``test``; of SVHN also ``extra``.

    Raises:
        DataError: If the split is unknown, or the files are broken, or missing and cannot be
            downloaded.
    """
    how = _SETS[name]
    if split not in how.splits:
        raise DataError(f"{name}: no split {split!r}; it has {', '.join(how.splits)}")
    dataset = _open(name, how, split)
    pixels = np.asarray(dataset.data)
    given = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    labels = np.asarray(given).astype(np.int64)
    names = list(getattr(dataset, "classes", ()))
    num_classes = len(names) or int(labels.max(initial=-1)) + 1
    _check(name, pixels, labels, num_classes)
    images = allocate(len(pixels), image_size, name)
    for position, image in enumerate(pixels):
        # SVHN and STL10 have channels first.
        rows = image.transpose(1, 2, 0) if how.kind in ("SVHN", "STL10") else image
        images[position] = fit(Image.fromarray(rows).convert("RGB"), image_size)
    return make_image_set(
        images,
        labels,
        num_classes=num_classes,
        source=name,
        names=names,
        read=[f"split {split}"],
    )


def _open(name: str, how: _Set, split: str) -> Any:
    """The data set as torchvision has it."""
    # Here and not above: importing torchvision takes a second, and random data does without.
    from torchvision import datasets

    root = data_root()
    which = {"train": split == "train"} if how.has_train_flag else {"split": split}
    try:
        for path in set_files(name):
            if not stat.S_ISDIR(path.stat().st_mode):
                open_regular(path).close()  # torchvision would wait for a named pipe
        return getattr(datasets, how.kind)(str(root), download=True, **how.options, **which)
    except (OSError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{name}: not in {root} and cannot be downloaded ({_reason(error)}); "
            f"{how.needed.format(root=root, split=split)} (or point {ROOT_VARIABLE} at its "
            "parent), or use another data source: random, a Parquet data set, an image folder"
        ) from error
    except Exception as error:  # whatever torchvision raises on damaged files
        raise DataError(
            f"{name}: the files in {root} are broken ({_reason(error)}); remove them and fetch "
            "them again"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check(name: str, pixels: Any, labels: Any, num_classes: int) -> None:
    is_good = pixels.dtype == np.uint8 and pixels.ndim in (3, 4) and labels.shape == (len(pixels),)
    if not is_good or (len(labels) and not 0 <= labels.min() <= labels.max() < num_classes):
        raise DataError(
            f"{name}: the files in {data_root()} are broken (images of shape {pixels.shape}, "
            f"labels of shape {labels.shape}); remove them and fetch them again"
        )


read_cifar10 = partial(read_set, "CIFAR10")
read_cifar100 = partial(read_set, "CIFAR100")
read_mnist = partial(read_set, "MNIST")
read_fashion_mnist = partial(read_set, "FashionMNIST")
read_kmnist = partial(read_set, "KMNIST")
read_emnist_balanced = partial(read_set, "EMNIST-balanced")
read_emnist_letters = partial(read_set, "EMNIST-letters")
read_emnist_digits = partial(read_set, "EMNIST-digits")
read_svhn = partial(read_set, "SVHN")
read_stl10 = partial(read_set, "STL10")
