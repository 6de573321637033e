"""Image folders: one subfolder per class, images anywhere below it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from nasi_ray.data.decode import MAX_ENCODED_BYTES
from nasi_ray.data.lazy import LazyImages, make_lazy_images
from nasi_ray.data.left_out import (
    Identity,
    count,
    describe,
    identity,
    is_housekeeping,
    kind,
    walk,
)
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.s3_path import DataPath, read_data, size_of
from nasi_ray.data.splits import canonical, is_meant, is_split, splits_in
from nasi_ray.data.texts import Texts
from nasi_ray.errors import DataError

# Of the formats that decode() reads; .pfm is left out, as it always has more than 8 bits.
EXTENSIONS = (
    *(".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
_MAX_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class FolderImages:
    """The image files below a folder."""

    root: str
    """The split's folder."""
    names: Texts
    """Of the files, from there."""

    @property
    def blocks(self) -> None:
        """Each file is read by itself."""
        return None

    def where(self, index: int) -> str:
        """The path of a file."""
        return os.path.join(self.root, self.names[index])

    def read(self, index: int) -> bytes:
        """The content of a file (see ``EncodedImages``)."""
        return read_data(self.where(index), MAX_ENCODED_BYTES)

    def stream(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """All files in order (see ``EncodedImages``)."""
        for index in range(len(self.names)):
            yield self.where(index), partial(self.read, index)


def open_folder(root: DataPath, options: ReadOptions, *, source: str) -> LazyImages:
    """Find the images of a folder; classes are numbered in the order of their names.

    Args:
        root: Holds the class folders, or folders named after splits that hold them.
        options: What to read.
        source: What the user named.

    Raises:
        ConfigError: If a column is named.
        DataError: If there are no class folders, the splits are missing or ambiguous, a class has
            no image.
        OSError: If a folder cannot be read.
    """
    options.refuse_columns(source, "an image folder")
    chosen, classes = _find_classes(root, options.split)
    names: list[str] = []
    sizes: list[int] = []
    counts: list[int] = []
    around = {identity(folder) for folder in (root, chosen, *classes)}
    beside = set(classes)
    left_out = [kind(path) for path in chosen.iterdir() if path not in beside]
    if chosen != root:
        left_out += [
            kind(path) for path in root.iterdir() if not splits_in(path.name, options.split)
        ]
    for folder in classes:
        found, others = _class_images(folder, options.split, around)
        names += [str(path.relative_to(chosen)) for path in found]  # type: ignore[arg-type]
        sizes += [size_of(path) for path in found]
        counts.append(len(found))
        left_out += others
    texts = Texts.of(names)
    read = [f"split {chosen.name}"] if chosen != root else []
    return make_lazy_images(
        FolderImages(str(chosen), texts),
        np.repeat(np.arange(len(classes)), counts),
        class_names=[folder.name for folder in classes],
        names_and_sizes=[
            texts.content.tobytes(),
            texts.ends.astype("<i8").tobytes(),
            np.array(sizes, "<i8").tobytes(),
        ],
        source=source,
        read=[*read, count(len(names), "file"), describe(left_out)],
        skip_broken=options.skip_broken,
    )


def _find_classes(root: DataPath, split: str) -> tuple[DataPath, list[DataPath]]:
    """The folder of the split, and the class folders in it, sorted."""
    chosen = _split_root(root, split)
    classes = _subfolders(chosen)
    if not classes:
        raise DataError(
            f"{chosen}: neither Parquet files nor class folders in it; give a directory of Parquet "
            "files, or an image folder with one subfolder per class"
        )
    if chosen == root and not is_meant(root.name, split):
        raise DataError(
            f"{root}: no split {split!r}: no folder in it has a split's name; leave the split out, "
            "or give another folder"
        )
    return chosen, classes


def _split_root(root: DataPath, split: str) -> DataPath:
    """The folder that holds the class folders.

    A class can be called "train", too: a split holds folders, a class holds images.
    """
    folders = _subfolders(root)
    named = [path for path in folders if splits_in(path.name, split)]
    exact = [path for path in folders if is_split(path.name, split)]
    candidates = named if len(named) == len(folders) else exact
    splits = [path for path in candidates if _subfolders(path)]
    if splits:
        return _matching(root, splits, split)
    if _num_splits(candidates, split) > 1:
        raise DataError(
            f"{root}: {_names(candidates)} are splits without class folders; give each split one "
            "subfolder per class"
        )
    holding = [path for path in named if _subfolders(path)]
    if _num_splits(holding, split) > 1:
        others = [path for path in folders if path not in named]
        raise DataError(
            f"{root}: {_names(holding)} look like splits and {_names(others)} like classes; give "
            "the path of one split, or rename the folders"
        )
    return root


def _matching(root: DataPath, splits: list[DataPath], split: str) -> DataPath:
    matching = [path for path in splits if canonical(split) in splits_in(path.name, split)]
    if not matching:
        raise DataError(f"{root}: no split {split!r}; it has {_names(splits)}")
    several = [path for path in matching if len(splits_in(path.name, split)) > 1]
    if several or len(matching) > 1:
        raise DataError(
            f"{root}: it is ambiguous which folder is split {split!r} "
            f"({_names(several or matching)}); give the path of one, or rename the folders"
        )
    return matching[0]


def _num_splits(folders: list[DataPath], split: str) -> int:
    return len(set().union(*(splits_in(path.name, split) for path in folders)))


def _names(folders: list[DataPath]) -> str:
    more = f" and {len(folders) - _MAX_NAMED} more" if len(folders) > _MAX_NAMED else ""
    return ", ".join(path.name for path in folders[:_MAX_NAMED]) + more


def _subfolders(root: DataPath) -> list[DataPath]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not is_housekeeping(path.name)
    )


def _class_images(
    folder: DataPath, split: str, around: set[Identity]
) -> tuple[list[DataPath], list[str]]:
    """The images of a class, sorted, and the kind of each thing left out."""
    below = [path for path in _subfolders(folder) if is_split(path.name, split)]
    if _num_splits(below, split) > 1:
        raise DataError(
            f"{folder}: splits ({_names(below)}) below a class; put the splits above the classes "
            "(split/class/file)"
        )
    files, left_out = walk(folder, others=around)
    images = [path for path in files if path.name.lower().endswith(EXTENSIONS)]
    if not images:
        raise DataError(
            f"{folder}: no image in this class folder; remove it or add images "
            f"({', '.join(EXTENSIONS)})"
        )
    others = [path for path in files if not path.name.lower().endswith(EXTENSIONS)]
    return images, [*left_out, *(kind(path) for path in others)]
