"""ImageSet: exact statistics, the digest, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nasi_ray.arrays import IntArray
from nasi_ray.data import image_set
from nasi_ray.data.fitted import data_identity
from nasi_ray.data.image_set import PixelArray, make_image_set
from nasi_ray.errors import DataError
from tests.data.encoded import image_set as random_images


def _images() -> PixelArray:
    images = np.zeros((3, 3, 4, 4), dtype=np.uint8)
    images[0, :, 0, 0] = 255
    return images


LABELS = np.array([0, 1, 1], dtype=np.int64)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(3), st.just(4), st.just(4))))
def test_mean_and_std_are_those_of_the_pixels(
    images: PixelArray,
) -> None:
    channels = images.astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) / 255
    std = channels.std(axis=1)
    if (np.ptp(channels, axis=1) == 0).all():
        return
    data = make_image_set(
        images, np.zeros(len(images), dtype=np.int64), num_classes=2, source="test"
    )
    np.testing.assert_allclose(data.mean, channels.mean(axis=1), rtol=1e-6, atol=1e-7)
    expected = np.where(np.ptp(channels, axis=1) == 0, 1, std)
    np.testing.assert_allclose(data.std, expected, rtol=1e-6)
    assert data.mean.dtype == data.std.dtype == np.float32


def test_statistics_do_not_depend_on_how_many_images_are_counted_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = random_images()
    monkeypatch.setattr(image_set, "_PIXELS_PER_COUNT", 64 * 7)
    pieces = random_images()
    np.testing.assert_array_equal(whole.mean, pieces.mean)
    np.testing.assert_array_equal(whole.std, pieces.std)


def test_constant_channel_has_std_1() -> None:
    images = _images()
    images[:, 2] = 201
    data = make_image_set(images, LABELS, num_classes=2, source="test")
    assert data.std[2] == 1
    assert data.mean[2] == np.float32(201 / 255)
    assert 0 < data.std[0] < 1


def test_images_of_one_colour_are_refused() -> None:
    images = np.full((3, 3, 4, 4), 7, dtype=np.uint8)
    with pytest.raises(DataError, match=r"^test: all images have one single colour"):
        make_image_set(images, LABELS, num_classes=2, source="test")


def test_digest_is_of_the_content_alone() -> None:
    def digest(images: PixelArray, labels: IntArray, num_classes: int, source: str) -> str:
        return make_image_set(images, labels, num_classes=num_classes, source=source).digest

    reference = digest(_images(), LABELS.copy(), 2, "a")
    assert len(reference) == 64
    assert digest(_images(), LABELS.copy(), 2, "b") == reference
    assert digest(_images()[:, :, ::-1].copy()[:, :, ::-1], LABELS.copy(), 2, "a") == reference
    one_pixel = _images()
    one_pixel[2, 2, 3, 3] += 1
    others = [
        digest(one_pixel, LABELS.copy(), 2, "a"),
        digest(_images(), LABELS[::-1].copy(), 2, "a"),
        digest(_images(), LABELS.copy(), 3, "a"),
        digest(_images()[:2], LABELS[:2].copy(), 2, "a"),
        digest(_images().reshape(12, 3, 2, 2), np.repeat(LABELS, 4), 2, "a"),
    ]
    assert len({reference, *others}) == 6


def test_digest_is_the_same_on_every_machine() -> None:
    digest = make_image_set(_images(), LABELS.copy(), num_classes=2, source="test").digest
    assert digest == "05afc6d9a20efc1a360acb5506dfe2ed20a8c7268b2212313511391b19a3b8fd"


def test_identity_names_digest_and_count() -> None:
    data = random_images(num_images=12)
    assert data_identity(data) == {"data": f"sha256:{data.digest[:16]} of 12 images"}
    assert data_identity(None) == {"data": "random"}


def test_arrays_are_read_only_and_survive_pickling_without_a_copy() -> None:
    data = random_images()
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 0
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    assert len(text) < 2000
    restored = pickle.loads(text, buffers=buffers)
    assert np.shares_memory(restored.images, data.images)
    assert restored.digest == data.digest


def test_no_images_and_one_class_are_refused() -> None:
    with pytest.raises(DataError, match=r"^test: no images; name a data set that has some$"):
        make_image_set(_images()[:0], LABELS[:0], num_classes=2, source="test")
    with pytest.raises(DataError, match=r"^test: 1 class; a data set needs at least 2 classes$"):
        make_image_set(_images(), LABELS * 0, num_classes=1, source="test")


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((3, 1, 4, 4), [0, 1, 1], r"images have shape \(3, 1, 4, 4\)"),
        ((3, 3, 4, 5), [0, 1, 1], r"images have shape \(3, 3, 4, 5\)"),
        ((3, 3, 4, 4), [0, 1], r"labels have shape \(2,\); it must be \(3,\)"),
        ((3, 3, 4, 4), [0, 1, 2], r"labels must be in \[0, 2\)"),
        ((3, 3, 4, 4), [0, 1, -1], r"labels must be in \[0, 2\)"),
    ],
)
def test_arrays_that_do_not_fit_are_a_bug(
    shape: tuple[int, ...], labels: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_image_set(
            np.zeros(shape, dtype=np.uint8),
            np.array(labels, dtype=np.int64),
            num_classes=2,
            source="test",
        )


@pytest.mark.parametrize(
    ("labels", "num_classes", "classes"),
    [
        ([0, 1, 1], 2, "2 classes (labels 0 to 1)"),
        (
            [1, 2, 1],
            3,
            "3 classes (labels 1 to 2); warning: no image of class 0; labels count from 0",
        ),
        (
            [1, 1, 5],
            9,
            "9 classes (labels 1 to 5); warning: no image of classes 0, 2, 3, 4, 6 and 2 more; "
            "labels count from 0",
        ),
    ],
)
def test_summary_says_what_was_read(labels: list[int], num_classes: int, classes: str) -> None:
    array = np.array(labels, dtype=np.int64)
    for read, start in ((["split x", "", "1 file"], "split x; 1 file; "), ([], "")):
        data = make_image_set(
            _images(), array.copy(), num_classes=num_classes, source="test", read=read
        )
        assert data.summary == start + classes
