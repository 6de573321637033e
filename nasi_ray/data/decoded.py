"""The images of a data set while they are decoded, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from nasi_ray.data.decode import allocate, decode
from nasi_ray.data.image_set import ImageSet, make_image_set
from nasi_ray.data.left_out import count
from nasi_ray.errors import DataError

_MAX_NAMED = 5


class DecodedImages:
    """Room for images, with their labels and the places of those that were skipped."""

    def __init__(self, num_images: int, *, image_size: int, source: str, skip_broken: bool) -> None:
        """Make room.

        Args:
            num_images: At most so many are added.
            image_size: Height and width S in pixels.
            source: What the user named.
            skip_broken: Whether ``skipping`` skips.

        Raises:
            DataError: If they need too much memory.
        """
        self._images = allocate(num_images, image_size, source)
        self._labels = np.empty(num_images, dtype=np.int64)
        self._image_size, self._source, self._skips = image_size, source, skip_broken
        self._position = 0
        self._skipped: list[str] = []

    def add(self, data: bytes, label: int, where: str) -> None:
        """Decode the next image.

        Raises:
            DataError: As ``decode``.
        """
        self._images[self._position] = decode(data, self._image_size, where)
        self._labels[self._position] = label
        self._position += 1

    @contextlib.contextmanager
    def skipping(self, where: str) -> Iterator[None]:
        """Read and add one image; if that fails, count it as skipped, if that is allowed.

        Args:
            where: Names the image.

        Raises:
            DataError: Whatever is raised inside, unless broken images are skipped.
            OSError: Likewise.
        """
        try:
            yield
        except (DataError, OSError):
            if not self._skips:
                raise
            self._skipped.append(where)

    def finish(
        self, *, num_classes: int | None, names: Sequence[str] = (), read: Sequence[str] = ()
    ) -> ImageSet:
        """The data set.

        Args:
            num_classes: None: as many as the largest label says.
            names: Of the classes, as for ``make_image_set``.
            read: What was read, as for ``make_image_set``.

        Raises:
            DataError: As ``make_image_set``, or if all images were skipped.
        """
        if self._skipped and not self._position:
            raise DataError(
                f"{self._source}: all {len(self._skipped)} images are broken, such as "
                f"{self._skipped[0]}; leave out --skip-broken to see why"
            )
        labels = self._labels[: self._position]
        return make_image_set(
            self._images[: self._position],
            labels,
            num_classes=num_classes or int(labels.max(initial=-1)) + 1,
            source=self._source,
            names=names,
            read=[*read, self._describe_skipped()],
        )

    def _describe_skipped(self) -> str:
        if not self._skipped:
            return ""
        more = len(self._skipped) - _MAX_NAMED
        named = ", ".join(self._skipped[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"skipped {count(len(self._skipped), 'broken image')}: {named}"
