"""A data set whose images are read and decoded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from nasi_ray.arrays import IntArray
from nasi_ray.data.decode import decode_whole
from nasi_ray.data.image_set import ImageSet, PixelArray, check_labels, describe_classes
from nasi_ray.errors import DataError

Decoded = TypeVar("Decoded")

MAX_REPLACEMENTS = 20
"""Broken images in a row that another of their class stands in for."""


class EncodedImages(Protocol):
    """The files or rows of a data set in their order; small to pickle, opens files when it reads.

    Both kinds of reading raise DataError or OSError for an image that cannot be read.
    """

    @property
    def blocks(self) -> IntArray | None:
        """Where each block of images that is read as a whole ends; None: each is read by itself."""

    def where(self, index: int) -> str:
        """Names an image in messages."""

    def read(self, index: int) -> bytes:
        """An encoded image."""

    def stream(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """All images in order: what names each, and what reads it, to be called at once."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LazyImages:
    """Images of any size with their labels; nothing is decoded before it is read."""

    labels: IntArray
    """shape (images,), in [0, num_classes)"""
    num_classes: int
    """Number of classes, including those without an image (≥ 2)."""
    class_names: tuple[str, ...]
    """In the order of the labels; empty if they are not known."""
    source: str
    """What the user named."""
    digest: str
    """SHA-256 (64 hex digits) of the names, sizes and labels of the images, and not of their
    pixels, which would have to be read; of a set in memory also of the pixels."""
    found: tuple[str, ...]
    """What was found, for people; begins the summary."""
    encoded: EncodedImages | ImageSet
    """The images."""
    skip_broken: bool
    """Whether the next image of the class stands in for one that cannot be read."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def blocks(self) -> IntArray | None:
        """As ``EncodedImages.blocks``; for ``epoch_order``."""
        return None if isinstance(self.encoded, ImageSet) else self.encoded.blocks

    @property
    def summary(self) -> str:
        """What there is, for people: split, files, classes, what was left out."""
        if isinstance(self.encoded, ImageSet):
            return self.encoded.summary
        classes = describe_classes(self.labels, self.num_classes, self.class_names)
        return "; ".join([*filter(None, self.found), classes])

    def read(self, index: int) -> PixelArray:
        """Read and decode one image.

        Returns:
            shape (H, W, 3), RGB, in the size that the image has; a new array

        Raises:
            DataError: If it cannot be read or is broken; see ``decode``. With ``skip_broken``: if
                the next ones of its class are, too.
            StorageError: If S3 cannot be reached.
        """
        return np.array(self.image(index))

    def image(self, index: int) -> Image.Image:
        """As ``read``, of mode RGB."""
        if isinstance(self.encoded, ImageSet):
            return Image.fromarray(self.encoded.images[index].transpose(1, 2, 0))
        return self.decoded(index, decode_whole)

    def decoded(self, index: int, decode: Callable[[bytes, str], Decoded]) -> Decoded:
        """Read one image, or with ``skip_broken`` the next of its class that can be read.

        Args:
            index: Of the image.
            decode: Takes the encoded image and what names it.
        """
        assert not isinstance(self.encoded, ImageSet)
        encoded = self.encoded
        try:
            return _decoded(encoded, index, decode)
        except DataError as error:
            if not self.skip_broken:
                raise
            first = error
        for other in self._next_of_class(index):
            try:
                return _decoded(encoded, other, decode)
            except DataError:
                continue
        raise DataError(f"{first}; the next images of its class cannot be read either") from first

    def _next_of_class(self, index: int) -> Sequence[int]:
        same = np.flatnonzero(self.labels == self.labels[index])
        place = int(np.searchsorted(same, index))
        following: list[int] = np.roll(same, -place)[1 : 1 + MAX_REPLACEMENTS].tolist()
        return following


def _decoded(
    encoded: EncodedImages, index: int, decode: Callable[[bytes, str], Decoded]
) -> Decoded:
    try:
        data = encoded.read(index)
    except FileNotFoundError as error:
        raise DataError(
            f"{encoded.where(index)}: is not on this machine, or was deleted after the run "
            "started; put the data where all workers can read them, such as s3://bucket/prefix"
        ) from error
    except OSError as error:
        raise DataError(f"{encoded.where(index)}: cannot be read ({error})") from error
    return decode(data, encoded.where(index))


def make_lazy_images(
    encoded: EncodedImages,
    labels: IntArray,
    *,
    class_names: Sequence[str],
    names_and_sizes: Iterable[bytes],
    source: str,
    read: Sequence[str],
    skip_broken: bool,
) -> LazyImages:
    """Check the labels and add the digest.

    Args:
        encoded: The images.
        labels: shape (images,); made read-only.
        class_names: Empty: there are as many classes as the largest label says.
        names_and_sizes: What tells the images from others, without the place where they are.
        source: What the user named.
        read: What was found, for people.
        skip_broken: See ``LazyImages``.

    Raises:
        DataError: If there is no image, or fewer than 2 or too many classes.
    """
    num_classes = len(class_names) or int(labels.max(initial=-1)) + 1
    check_labels(labels, num_classes, source)
    labels.setflags(write=False)
    digest = hashlib.sha256(f"{len(labels)} images, {num_classes} classes\n".encode())
    for part in names_and_sizes:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    digest.update(labels.astype("<i8").data)
    return LazyImages(
        labels=labels,
        num_classes=num_classes,
        class_names=tuple(class_names),
        source=source,
        digest=digest.hexdigest(),
        found=tuple(read),
        encoded=encoded,
        skip_broken=skip_broken,
    )
