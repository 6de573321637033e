"""Images of one size as batches take them: decoded beforehand, or when a batch needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import IntArray
from nasi_ray.data.decode import decode
from nasi_ray.data.image_set import ImageSet, PixelArray, make_image_set
from nasi_ray.data.lazy import LazyImages

MAX_WHOLE_IMAGES = 100_000
"""A data set with more images is not decoded whole. A search of the usual length draws as many."""
MAX_WHOLE_BYTES = 1 << 32
"""Nor is one whose pixels take more. Both limits are those of every machine, since the mean and
standard deviation depend on them."""
NUM_FOR_STATISTICS = 1024
"""Images that the mean and standard deviation are taken of, evenly spaced in the set."""


class FittedImages(Protocol):
    """Images of S x S pixels with their labels; small to send to a worker, or shared."""

    @property
    def labels(self) -> IntArray:
        """Shape (images,), in [0, num_classes)."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    @property
    def source(self) -> str:
        """What the user named."""

    @property
    def summary(self) -> str:
        """What was read, for people."""

    @property
    def image_size(self) -> int:
        """Height and width S in pixels."""

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """Shape (3,), mean of each channel with pixels scaled to [0, 1]."""

    @property
    def std(self) -> npt.NDArray[np.float32]:
        """Shape (3,), standard deviation likewise."""

    @property
    def identity(self) -> str:
        """What tells them from others in the records of a run; the place does not count."""

    def __len__(self) -> int: ...

    def pixels(self, indices: IntArray) -> PixelArray:
        """Some of the images.

        Args:
            indices: shape (batch,)

        Returns:
            shape (batch, 3, S, S), a copy

        Raises:
            DataError: If an image cannot be read, or is broken.
            StorageError: If S3 cannot be reached.
        """


def data_identity(images: FittedImages | None) -> dict[str, str]:
    """The identity of a run's data, independent of the path.

    Args:
        images: None for random data.
    """
    return {"data": "random" if images is None else images.identity}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LazyFitted:
    """Images that are decoded when a batch needs them, by the process that makes the batch."""

    images: LazyImages
    image_size: int
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @property
    def labels(self) -> IntArray:
        """See ``FittedImages``; so are all others."""
        return self.images.labels

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.images.num_classes

    @property
    def source(self) -> str:
        """What the user named."""
        return self.images.source

    @property
    def summary(self) -> str:
        """What was found."""
        return self.images.summary

    @property
    def identity(self) -> str:
        """Names, sizes and labels, and how the pixels are normalised."""
        number = len(self.images)
        return f"lazy sha256:{self.images.digest[:16]} of {number} images, mean and std of " + str(
            min(number, NUM_FOR_STATISTICS)
        )

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, indices: IntArray) -> PixelArray:
        """Decode some of the images."""
        return _decoded(self.images, indices, self.image_size)


def is_read_lazily(images: LazyImages, *, image_size: int, stored: str = "") -> bool:
    """Whether a data set is so large that its images are decoded only when they are needed.

    Args:
        images: The data set.
        image_size: Height and width S in pixels.
        stored: ``identity`` of the images of the run's records, if it has any; a run whose images
            were decoded whole goes on like that.
    """
    if isinstance(images.encoded, ImageSet):
        return False
    if stored.startswith("sha256:") and (
        images.skip_broken or stored.endswith(f" of {len(images)} images")
    ):
        return False
    num_bytes = len(images) * 3 * image_size**2
    return len(images) > MAX_WHOLE_IMAGES or num_bytes > MAX_WHOLE_BYTES


def fit_lazily(images: LazyImages, *, image_size: int) -> LazyFitted:
    """Decode only the images that the mean and standard deviation are taken of.

    Args:
        images: The data set, of files.
        image_size: Height and width S in pixels.

    Raises:
        DataError: If one of those is broken, or all have one single colour.
        StorageError: If S3 cannot be reached.
    """
    number = min(len(images), NUM_FOR_STATISTICS)
    chosen = np.arange(number) * len(images) // number
    sample = make_image_set(
        _decoded(images, chosen, image_size),
        images.labels[chosen],
        num_classes=images.num_classes,
        source=images.source,
    )
    return LazyFitted(images=images, image_size=image_size, mean=sample.mean, std=sample.std)


def _decoded(images: LazyImages, indices: IntArray, image_size: int) -> PixelArray:
    pixels = np.empty((len(indices), 3, image_size, image_size), dtype=np.uint8)
    for place, index in enumerate(indices.tolist()):
        pixels[place] = images.decoded(index, lambda data, where: decode(data, image_size, where))
    return pixels
