"""Batches as pure functions of (seed, index): any worker draws the same one, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasi_ray.arrays import IntArray
from nasi_ray.config import SampleConfig
from nasi_ray.data.fitted import FittedImages
from nasi_ray.data.image_set import PixelArray
from nasi_ray.data.labels import Labels, resolve_labels
from nasi_ray.errors import ConfigError, DataError
from nasi_ray.seeding import generator

Augment = Literal["none", "crop-flip"]
CROP_PADDING = 4


class Batches(Protocol):
    """Maps a sample index to its batch."""

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are below it."""

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """The batch of one sample; the same at every call, in any order of calls.

        Args:
            index: Sample index t (≥ 0).

        Returns:
            Images, float32, shape (batch, 3, S, S); labels, int64, shape (batch,).
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomBatches:
    """Pixels i.i.d. N(0, 1), labels i.i.d. uniform: data-free search (Sec. 4.1)."""

    seed: int
    """Root seed of the search."""
    batch_size: int
    """Images b of a batch."""
    image_size: int
    """Height and width S in pixels."""
    num_classes: int
    """Number of classes."""

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """See ``Batches``."""
        shape = (self.batch_size, 3, self.image_size, self.image_size)
        images = generator(self.seed, "batch", index).standard_normal(shape, dtype=np.float32)
        labels = generator(self.seed, "labels", index).integers(self.num_classes, size=shape[0])
        return torch.from_numpy(images), torch.from_numpy(labels)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageBatches:
    """b distinct images of a data set, normalised by the set's mean and standard deviation."""

    images: FittedImages
    """The data set; only the images of a batch are ever copied, or decoded."""
    seed: int
    """Root seed of the search."""
    batch_size: int
    """Images b of a batch, at most those of the data set."""
    labels: Labels = "true"
    """true; random: uniform over the classes; permuted: the batch's true ones, shuffled."""
    augment: Augment = "none"
    """crop-flip: pad by 4 black pixels, crop at random, flip every other image; like torchvision's
    ``RandomCrop`` and ``RandomHorizontalFlip`` before ``ToTensor`` and ``Normalize``, so the
    padding is black and not the mean colour."""

    def __post_init__(self) -> None:
        if self.batch_size > len(self.images):
            raise DataError(
                f"batch_size is {self.batch_size} and {self.images.source} has "
                f"{len(self.images)} images; use a batch size of at most {len(self.images)}"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes of the data set."""
        return self.images.num_classes

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """See ``Batches``."""
        chosen = generator(self.seed, "batch", index).choice(
            len(self.images), self.batch_size, replace=False
        )
        pixels = self.images.pixels(chosen)
        if self.augment == "crop-flip":
            pixels = crop_flip(pixels, generator(self.seed, "augmentation", index))
        images = normalise(pixels, self.images.mean, self.images.std)
        return torch.from_numpy(images), torch.from_numpy(self._batch_labels(chosen, index))

    def _batch_labels(self, chosen: IntArray, index: int) -> IntArray:
        true = self.images.labels[chosen]
        if self.labels == "true":
            return true
        rng = generator(self.seed, "labels", index)
        if self.labels == "permuted":
            return rng.permutation(true)
        return rng.integers(self.num_classes, size=self.batch_size)


def normalise(
    pixels: PixelArray, mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(pixels / 255 - mean) / std, channel by channel, rounded as torchvision does.

    Args:
        pixels: shape (batch, 3, S, S)
        mean: shape (3,), of pixels in [0, 1]
        std: shape (3,), likewise

    Returns:
        shape (batch, 3, S, S)
    """
    images = pixels.astype(np.float32)
    images /= np.float32(255)
    images -= mean[:, None, None]
    images /= std[:, None, None]
    return images


def crop_flip(pixels: PixelArray, rng: np.random.Generator) -> PixelArray:
    """Crop each image at random after padding with black, and flip it with probability ½.

    Args:
        pixels: shape (batch, 3, S, S)
        rng: Draws the offsets, then the flips.

    Returns:
        shape (batch, 3, S, S), a copy
    """
    offsets = rng.integers(2 * CROP_PADDING + 1, size=(2, len(pixels)))
    flips = rng.integers(2, size=len(pixels))
    return crop_and_flip(pixels, offsets, flips, CROP_PADDING)


def crop_and_flip(
    pixels: PixelArray, offsets: IntArray, flips: IntArray, padding: int
) -> PixelArray:
    """Pad with black, crop, and flip.

    Args:
        pixels: shape (batch, 3, S, S)
        offsets: Row and column of the crop, in [0, 2 padding], shape (2, batch).
        flips: 1 where an image is flipped, shape (batch,).
        padding: Pixels on each side.

    Returns:
        shape (batch, 3, S, S), a copy
    """
    size = pixels.shape[-1]
    margin = (padding, padding)
    padded = np.pad(pixels, ((0, 0), (0, 0), margin, margin))
    span = np.arange(size)
    rows = offsets[0][:, None] + span
    columns = offsets[1][:, None] + np.where(flips[:, None] == 1, span[::-1], span)
    cropped: PixelArray = padded[
        np.arange(len(pixels))[:, None, None, None],
        np.arange(3)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    return cropped


def make_batches(config: SampleConfig, images: FittedImages | None) -> Batches:
    """The batches that the settings describe.

    Args:
        config: Settings of a sample.
        images: Those of ``config.data``; None for random data.

    Raises:
        ConfigError: If true labels or augmentation are asked for with random data.
        DataError: If the data set is smaller than a batch, or cannot be read here.
        StorageError: If S3 cannot be reached.
        ValueError: If ``images`` do not fit the settings.
    """
    labels = resolve_labels(config.labels, config.data)
    if (config.data == "random") != (images is None):
        raise ValueError(
            f"data is {config.data!r} but images were {'not ' * (images is None)}given"
        )
    if images is None:
        if config.augment != "none":
            raise ConfigError(
                f"augment is {config.augment!r} and data is 'random', where it changes nothing; "
                "use augment none, or a data set"
            )
        return RandomBatches(
            seed=config.seed,
            batch_size=config.batch_size,
            image_size=config.image_size,
            num_classes=config.num_classes,
        )
    if images.image_size != config.image_size:
        raise ValueError(f"images are of size {images.image_size}, not {config.image_size}")
    images.pixels(np.zeros(1, np.int64))  # a worker that cannot read them says so at once
    return ImageBatches(
        images=images,
        seed=config.seed,
        batch_size=config.batch_size,
        labels=labels,
        augment=config.augment,
    )
