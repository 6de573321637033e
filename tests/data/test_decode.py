"""Decoding: every kind of image becomes RGB of S x S; broken ones are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from nasi_ray.data import decode as module
from nasi_ray.data.decode import allocate, decode, fit
from nasi_ray.errors import DataError
from tests.data.encoded import encode, pixels, png


def test_image_of_the_right_size_is_untouched() -> None:
    np.testing.assert_array_equal(
        decode(png(0, 9, 9), 9, "x"), pixels(0, 9, 9).transpose(2, 0, 1), strict=True
    )


@settings(deadline=None, max_examples=60, derandomize=True)
@given(height=st.integers(1, 70), width=st.integers(1, 70), size=st.integers(1, 40))
def test_other_sizes_are_resized_and_cropped_as_torchvision_does(
    height: int, width: int, size: int
) -> None:
    image = Image.fromarray(pixels(height * 100 + width, height, width))
    expected = transforms.CenterCrop(size)(transforms.Resize(size)(image))
    np.testing.assert_array_equal(fit(image, size), np.asarray(expected).transpose(2, 0, 1))


def test_centre_is_kept_and_ends_are_cropped() -> None:
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = 255
    assert (fit(Image.fromarray(wide), 4) == 255).all()
    assert (fit(Image.fromarray(wide.transpose(1, 0, 2)), 4) == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(pixels(1, 8, 8)).convert(mode)
    image_format = "TIFF" if mode == "CMYK" else "PNG"
    decoded = decode(encode(image, image_format), 8, "x")
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded, expected, strict=True)


def test_grey_has_three_equal_channels_and_alpha_is_dropped() -> None:
    grey = Image.fromarray(pixels(2, 8, 8)[:, :, 0])
    decoded = decode(encode(grey), 8, "x")
    assert (decoded == pixels(2, 8, 8)[:, :, 0]).all()
    with_alpha = Image.fromarray(np.concatenate([pixels(3, 8, 8), pixels(4, 8, 8)[:, :, :1]], 2))
    np.testing.assert_array_equal(
        decode(encode(with_alpha), 8, "x"), pixels(3, 8, 8).transpose(2, 0, 1)
    )


def test_palette_with_transparency_gives_its_colours_and_no_warning() -> None:
    image = Image.fromarray(pixels(5, 8, 8)).quantize(16)
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    data = encode(image, transparency=bytes(range(16)))
    np.testing.assert_array_equal(decode(data, 8, "x"), expected)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM"])
def test_usual_formats_are_read(image_format: str) -> None:
    decoded = decode(encode(Image.fromarray(pixels(6, 8, 8)), image_format), 8, "x")
    assert decoded.shape == (3, 8, 8)
    assert decoded.dtype == np.uint8


def test_more_than_8_bits_are_refused_not_clipped() -> None:
    image = Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16))
    with pytest.raises(DataError, match=r"^file x: pixels are of mode I;16; convert them to 8 bit"):
        decode(encode(image), 8, "file x")


def test_what_is_no_image_is_named() -> None:
    with pytest.raises(DataError, match=r"^row 7: not an image, or broken; replace or remove it"):
        decode(b"plain text", 8, "row 7")


def test_truncated_image_is_named() -> None:
    data = encode(Image.fromarray(pixels(7, 64, 64)), "JPEG")
    with pytest.raises(DataError, match=r"^row 8: image is broken \(.*truncated.*\); replace or"):
        decode(data[: len(data) // 2], 64, "row 8")


@pytest.mark.parametrize(("height", "megapixels"), [(9_500, 95), (20_000, 200)])
def test_image_beyond_the_limit_of_pixels_is_too_large_not_broken(
    height: int, megapixels: int
) -> None:
    data = encode(Image.new("1", (10_000, height)))
    message = rf"^x: image is too large \({megapixels} of at most 89 megapixels\); scale it down"
    with pytest.raises(DataError, match=message):
        decode(data, 8, "x")


@pytest.mark.parametrize("size", [(20_000_000, 1), (1, 20_000_000), (400_000, 3)])
def test_long_and_narrow_image_is_not_enlarged_first(size: tuple[int, int]) -> None:
    message = rf"^x: image of {size[0]} x {size[1]} pixels is too long and narrow; crop or remove"
    with pytest.raises(DataError, match=message):
        decode(encode(Image.new("1", size), "TIFF", compression="group4"), 32, "x")


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    image_format=st.sampled_from(["JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM"]),
    position=st.integers(0, 120),
    replacement=st.binary(min_size=1, max_size=4),
)
def test_damaged_bytes_give_an_image_or_an_error_that_names_it(
    image_format: str, position: int, replacement: bytes
) -> None:
    data = bytearray(encode(Image.fromarray(pixels(8, 12, 12)), image_format))
    data[position : position + len(replacement)] = replacement
    try:
        assert decode(bytes(data), 8, "row 9").shape == (3, 8, 8)
    except DataError as error:
        assert str(error).startswith("row 9: ")  # noqa: PT017


def test_data_beyond_half_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_memory_limit", lambda: 2 * 3 * 8 * 8 * 10)
    assert allocate(10, 8, "big").shape == (10, 3, 8, 8)
    with pytest.raises(DataError, match=r"^big: 11 images of 8 x 8 pixels take .* smaller image"):
        allocate(11, 8, "big")


def test_memory_limit_is_positive() -> None:
    assert module._memory_limit() > 2**28
