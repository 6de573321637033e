"""Image folders: one subfolder per class, images anywhere below it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nasi_ray.data.decode import allocate, decode
from nasi_ray.data.image_set import ImageSet, make_image_set
from nasi_ray.data.parquet import COMMON_SPLITS
from nasi_ray.errors import DataError

EXTENSIONS = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


def read_folder(root: Path, *, image_size: int, split: str, source: str) -> ImageSet:
    """Read an image folder; classes are numbered in the order of their names.

    Args:
        root: Holds the class folders, or a folder with the split's name that holds them.
        image_size: Height and width S in pixels.
        split: Split to read, if the folder has splits.
        source: What the user named.

    Raises:
        DataError: If there are no class folders, the split is missing, a class has no image, or an
            image does not decode.
    """
    root = _split_root(root, split)
    classes = _subfolders(root)
    if not classes:
        raise DataError(
            f"{root}: neither Parquet files nor class folders in it; give a directory of Parquet "
            "files, or an image folder with one subfolder per class"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(classes):
        found = _image_files(folder)
        if not found:
            raise DataError(
                f"{folder}: no image in this class folder; remove it or add images "
                f"({', '.join(EXTENSIONS)})"
            )
        files += found
        labels += [label] * len(found)
    images = allocate(len(files), image_size, source)
    for position, path in enumerate(files):
        images[position] = decode(path.read_bytes(), image_size, str(path))
    return make_image_set(
        images, np.array(labels, dtype=np.int64), num_classes=len(classes), source=source
    )


def _split_root(root: Path, split: str) -> Path:
    # A class can be called "train", too: a split holds folders, a class holds images.
    if (root / split).is_dir() and _subfolders(root / split):
        return root / split
    splits = [name for name in COMMON_SPLITS if (root / name).is_dir() and _subfolders(root / name)]
    if splits:
        raise DataError(f"{root}: no split {split!r}; it has {', '.join(splits)}")
    return root


def _subfolders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _image_files(folder: Path) -> list[Path]:
    found = [
        Path(parent) / name
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    ]
    return sorted(found)
