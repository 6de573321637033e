"""A data set in memory: pixels, labels, their statistics, and what identifies them.

Reading files is elsewhere (``load.py``); so is drawing batches (``batches.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import IntArray
from nasi_ray.errors import DataError

PixelArray = npt.NDArray[np.uint8]

MAX_CLASSES = 100_000
# bincount widens its input to 64 bit, so it is fed a slice at a time.
_PIXELS_PER_COUNT = 1 << 20
_MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageSet:
    """Images of one size with their labels; the arrays are read-only."""

    images: PixelArray
    """shape (images, 3, S, S), RGB, C-contiguous"""
    labels: IntArray
    """shape (images,), in [0, num_classes)"""
    num_classes: int
    """Number of classes, including those without an image (≥ 2)."""
    source: str
    """What the user named."""
    digest: str
    """SHA-256 (64 hex digits) of shape, number of classes, pixels and labels."""
    mean: npt.NDArray[np.float32]
    """shape (3,), mean of each channel with pixels scaled to [0, 1]"""
    std: npt.NDArray[np.float32]
    """shape (3,), standard deviation likewise; 1 for a channel that is constant"""
    summary: str = ""
    """What was read, for people: split, files, classes, what was left out."""
    class_names: tuple[str, ...] = ()
    """In the order of the labels; empty if they are not known."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> int:
        """Height and width S in pixels."""
        return int(self.images.shape[-1])

    @property
    def identity(self) -> str:
        """What tells them from others in the records of a run: their content."""
        return f"sha256:{self.digest[:16]} of {len(self)} images"

    def pixels(self, indices: IntArray) -> PixelArray:
        """Some of the images, shape (batch, 3, S, S), a copy."""
        return self.images[indices]


def make_image_set(
    images: PixelArray,
    labels: IntArray,
    *,
    num_classes: int,
    source: str,
    names: Sequence[str] = (),
    read: Sequence[str] = (),
) -> ImageSet:
    """Add statistics and digest, and make the arrays read-only (no copy).

    Args:
        images: shape (images, 3, S, S), RGB.
        labels: shape (images,), in [0, num_classes).
        num_classes: Classes of the data set.
        source: What the user named; for messages only.
        names: Of the classes, for people; empty: not known.
        read: What was read, for people; begins the summary. Empty strings are left out.

    Raises:
        DataError: If there is no image, fewer than 2 classes, or all pixels are equal.
        ValueError: If the shapes do not fit together or a label is out of range.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images have shape {images.shape}; it must be (images, 3, S, S)")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels have shape {labels.shape}; it must be {images.shape[:1]}")
    check_labels(labels, num_classes, source)
    images = np.ascontiguousarray(images)
    mean, std = _channel_statistics(images)
    if np.all(std == 0):
        raise DataError(f"{source}: all images have one single colour; use another data set")
    images.setflags(write=False)
    labels.setflags(write=False)
    return ImageSet(
        images=images,
        labels=labels,
        num_classes=num_classes,
        source=source,
        digest=_digest(images, labels, num_classes),
        mean=mean,
        std=np.where(std == 0, np.float32(1), std),
        summary="; ".join([*filter(None, read), describe_classes(labels, num_classes, names)]),
        class_names=tuple(names),
    )


def check_labels(labels: IntArray, num_classes: int, source: str) -> None:
    """Refuse a data set without images, or with too few or too many classes.

    Args:
        labels: shape (images,), in [0, num_classes).
        num_classes: Classes of the data set.
        source: What the user named.

    Raises:
        DataError: If it is refused.
        ValueError: If a label is out of range.
    """
    if len(labels) == 0:
        raise DataError(f"{source}: no images; name a data set that has some")
    if num_classes < 2:
        raise DataError(f"{source}: {num_classes} class; a data set needs at least 2 classes")
    if num_classes > MAX_CLASSES:
        raise DataError(
            f"{source}: {num_classes} classes (the largest label is {labels.max()}); at most "
            f"{MAX_CLASSES} are allowed: number the classes from 0"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must be in [0, {num_classes})")


def describe_classes(labels: IntArray, num_classes: int, names: Sequence[str]) -> str:
    """Number of classes and range of labels, with a warning that names classes without images."""
    low, high = int(labels.min()), int(labels.max())
    named = f", {names[low]} to {names[high]}" if names else ""
    text = f"{num_classes} classes (labels {low} to {high}{named})"
    empty = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0).tolist()
    if not empty:
        return text
    more = f" and {len(empty) - _MAX_NAMED} more" if len(empty) > _MAX_NAMED else ""
    shown = [f"{i} ({names[i]})" if names else str(i) for i in empty[:_MAX_NAMED]]
    noun = "class" if len(empty) == 1 else "classes"
    return f"{text}; warning: no image of {noun} {', '.join(shown)}{more}; labels count from 0"


def _channel_statistics(
    images: PixelArray,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Exact mean and standard deviation of each channel, from counts of the 256 values."""
    counts = np.zeros((3, 256), dtype=np.int64)
    step = max(1, _PIXELS_PER_COUNT // images[0, 0].size)
    for start in range(0, len(images), step):
        for channel in range(3):
            pixels = images[start : start + step, channel].reshape(-1)
            counts[channel] += np.bincount(pixels, minlength=256)
    weights = counts / counts[0].sum()
    values = np.arange(256) / 255
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def _digest(images: PixelArray, labels: IntArray, num_classes: int) -> str:
    digest = hashlib.sha256(f"images {images.shape} classes {num_classes}\n".encode())
    digest.update(images.data)
    digest.update(labels.astype("<i8").data)
    return digest.hexdigest()
