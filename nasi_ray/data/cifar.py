"""CIFAR-10 and CIFAR-100 by name, through torchvision."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from nasi_ray.data.decode import allocate, fit
from nasi_ray.data.image_set import ImageSet, make_image_set
from nasi_ray.errors import DataError

ROOT_VARIABLE = "NASI_DATA_ROOT"
_SPLITS = ("train", "test")


def data_root() -> Path:
    """Where named data sets are kept: ``$NASI_DATA_ROOT``, else ``~/.cache/nasi_ray``."""
    return Path(os.environ.get(ROOT_VARIABLE) or "~/.cache/nasi_ray").expanduser()


def read_cifar(name: str, *, image_size: int, split: str) -> ImageSet:
    """Read the set under ``data_root()``; download it if it is missing.

    Args:
        name: ``CIFAR10`` or ``CIFAR100``.
        image_size: Height and width S in pixels; the images have 32.
        split: ``train`` (50,000 images) or ``test`` (10,000).

    Raises:
        DataError: If the split is unknown, or the files are missing and cannot be downloaded.
    """
    if split not in _SPLITS:
        raise DataError(f"{name}: no split {split!r}; it has {', '.join(_SPLITS)}")
    # Here and not above: importing torchvision takes a second, and random data does without.
    from torchvision import datasets

    dataset_class = getattr(datasets, name)
    root = data_root()
    try:
        dataset = dataset_class(str(root), train=split == "train", download=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{name}: not in {root} and cannot be downloaded ({error}); unpack "
            f"{Path(dataset_class.url).name} so that {root / dataset_class.base_folder} exists "
            f"(or point {ROOT_VARIABLE} at its parent), or use another data source: random, a "
            "Parquet data set, an image folder"
        ) from error
    pixels = np.asarray(dataset.data)
    images = allocate(len(pixels), image_size, name)
    for position, image in enumerate(pixels):
        images[position] = fit(Image.fromarray(image), image_size)
    labels = np.array(dataset.targets, dtype=np.int64)
    return make_image_set(
        images,
        labels,
        num_classes=len(dataset.classes),
        source=name,
        read=[f"split {split}"],
    )


read_cifar10 = partial(read_cifar, "CIFAR10")
read_cifar100 = partial(read_cifar, "CIFAR100")
