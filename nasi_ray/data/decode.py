"""Encoded image files to pixels of one size, with PIL.

Decoding runs in the calling thread: PIL holds the interpreter lock, so a thread pool gains
nothing (2.4 s against 2.3 s for the 50,000 images of CIFAR-10).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from nasi_ray.data.image_set import PixelArray
from nasi_ray.errors import DataError

# PIL's other formats are left out: some run external programs (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
_EIGHT_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MAX_ENCODED_BYTES = 1 << 28
"""An encoded image that is larger is refused."""
_MAX_RESIZED_PIXELS = 1 << 24
_USUAL_SIZE = 224
"""To what size an image is taken to be fitted that is decoded whole."""

T = TypeVar("T")


def allocate(num_images: int, image_size: int, source: str) -> PixelArray:
    """Make room for a data set.

    Args:
        num_images: Number of images.
        image_size: Height and width S in pixels.
        source: What the user named, for the message.

    Returns:
        Uninitialised, shape (num_images, 3, S, S).

    Raises:
        DataError: If it needs more than half of this machine's memory; the other half is for the
            copy that workers share.
    """
    size = num_images * 3 * image_size**2
    limit = _memory_limit() // 2
    if size > limit:
        raise DataError(
            f"{source}: {num_images} images of {image_size} x {image_size} pixels take "
            f"{size / 1e9:.1f} GB; at most {limit / 1e9:.1f} GB (half of the memory) is allowed: "
            "use a smaller image size or fewer images"
        )
    return np.empty((num_images, 3, image_size, image_size), dtype=np.uint8)


def decode(data: bytes, image_size: int, where: str) -> PixelArray:
    """Decode one image to RGB and fit it to the size.

    Args:
        data: The encoded file.
        image_size: Height and width S in pixels.
        where: Names the image in messages.

    Returns:
        shape (3, S, S); alpha is dropped, EXIF rotation is not applied.

    Raises:
        DataError: If the image is broken, too large, or has more than 8 bits a channel.
    """
    return _decode(data, image_size, where, lambda image: fit(image, image_size))


def decode_whole(data: bytes, where: str) -> Image.Image:
    """Decode one image to RGB in the size that it has; otherwise as ``decode``."""
    return _decode(data, _USUAL_SIZE, where, _loaded)


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _decode(data: bytes, image_size: int, where: str, finish: Callable[[Image.Image], T]) -> T:
    if len(data) > MAX_ENCODED_BYTES:
        raise DataError(
            f"{where}: image has {len(data) / 1e6:.0f} MB; at most {MAX_ENCODED_BYTES / 1e6:.0f} "
            "MB is allowed: scale it down or remove it"
        )
    try:
        with _bombs_refused(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.mode not in _EIGHT_BIT_MODES:
                raise DataError(
                    f"{where}: pixels are of mode {image.mode}; convert them to 8 bits a channel"
                )
            _refuse_long(image, image_size, where)
            if image.mode == "P" and "transparency" in image.info:
                # PIL warns when it drops a palette's transparency in one step.
                return finish(image.convert("RGBA").convert("RGB"))
            return finish(image if image.mode == "RGB" else image.convert("RGB"))
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{where}: not an image, or broken; replace or remove it (formats: "
            f"{', '.join(FORMATS)})"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"[0-9]+", str(error))
        size = f"{int(pixels[0]) / 1e6:.0f} of at most " if pixels else "more than "
        raise DataError(
            f"{where}: image is too large ({size}{(Image.MAX_IMAGE_PIXELS or 0) // 10**6} "
            "megapixels); scale it down or remove it"
        ) from error
    except Exception as error:  # whatever PIL raises on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: image is broken ({reason}); replace or remove it") from error


def _refuse_long(image: Image.Image, image_size: int, where: str) -> None:
    # The shorter side is enlarged to S before the crop, and the longer side with it.
    aspect = max(image.size) / min(image.size)
    if aspect * image_size**2 > max(_MAX_RESIZED_PIXELS, 16 * image_size**2):
        raise DataError(
            f"{where}: image of {image.width} x {image.height} pixels is too long and narrow; crop "
            "or remove it"
        )


@contextlib.contextmanager
def _bombs_refused() -> Iterator[None]:
    # For images of 89 to 179 million pixels PIL only warns. Other warnings are about metadata.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def fit(image: Image.Image, image_size: int) -> PixelArray:
    """Resize the shorter side to S (bilinear, antialiased) and crop the centre.

    Args:
        image: Of mode RGB. An image of S x S pixels is not changed.
        image_size: Height and width S in pixels.

    Returns:
        shape (3, S, S)
    """
    if image.size != (image_size, image_size):
        shorter = min(image.size)
        width, height = (image_size * side // shorter for side in image.size)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if width != height:
            left, top = round((width - image_size) / 2), round((height - image_size) / 2)
            image = image.crop((left, top, left + image_size, top + image_size))
    return np.asarray(image).transpose(2, 0, 1)


def _memory_limit() -> int:
    """Bytes of memory for this process: the machine's, or its container's if less."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    container = Path("/sys/fs/cgroup/memory.max")
    try:
        text = container.read_text().strip()
    except OSError:
        return physical
    return min(physical, int(text)) if text.isdigit() else physical
