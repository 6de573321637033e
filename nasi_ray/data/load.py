"""Decode a whole data set into memory, in one size."""

from __future__ import annotations

from nasi_ray.data.decoded import DecodedImages
from nasi_ray.data.image_set import ImageSet
from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.open import READ_TRAIN, open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError


def load_images(source: str, options: ReadOptions = READ_TRAIN, *, image_size: int) -> ImageSet:
    """Load a data set into memory.

    Images of another size have their shorter side resized to S (bilinear, antialiased) and their
    centre cropped; images of S x S pixels stay as they are, bit for bit.

    Args:
        source: As for ``open_images``.
        options: What to read of it.
        image_size: Height and width S in pixels (≥ 1).

    Raises:
        NasiRayError: As ``open_images``, or if the images are broken or too large for the memory.
        ValueError: If ``source`` is ``random`` (nothing to load) or ``image_size`` below 1.
    """
    if image_size < 1:
        raise ValueError(f"image_size is {image_size}; it must be at least 1")
    return decode_all(open_images(source, options, image_size=image_size), image_size=image_size)


def decode_all(images: LazyImages, *, image_size: int) -> ImageSet:
    """Decode all images of a data set, in order.

    Args:
        images: Those known by name are of that size already.
        image_size: Height and width S in pixels.

    Raises:
        DataError: If an image is broken and these are not skipped, or all together are too large.
        StorageError: If S3 cannot be reached.
    """
    encoded = images.encoded
    if isinstance(encoded, ImageSet):
        return encoded
    decoded = DecodedImages(
        len(images),
        image_size=image_size,
        source=images.source,
        skip_broken=images.skip_broken,
    )
    try:
        for (where, read), label in zip(encoded.stream(), images.labels.tolist(), strict=True):
            with decoded.skipping(where):
                decoded.add(read(), label, where)
    except OSError as error:
        raise DataError(f"{images.source}: cannot be read ({error})") from error
    names = images.class_names
    return decoded.finish(num_classes=len(names) or None, names=names, read=images.found)
