"""open_images: what a set holds, read on demand in any process."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasi_ray.data import parquet_images
from nasi_ray.data.open import open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.sources import SOURCES
from nasi_ray.data.texts import Texts
from nasi_ray.errors import DataError
from tests.data.encoded import encode, image_set, pixels, png, write_parquet

SIZES = [(8, 9), (5, 12), (7, 7), (20, 3), (6, 6), (9, 4)]
PIXELS = [pixels(seed, *size) for seed, size in enumerate(SIZES)]
ENCODED = [png(seed, *size) for seed, size in enumerate(SIZES)]
LABELS = [0, 1, 0, 2, 1, 2]
SKIP = ReadOptions(skip_broken=True)


def folder(root: Path, encoded: list[bytes] = ENCODED) -> str:
    """Class folders; in each the images keep their order."""
    for place, (image, label) in enumerate(zip(encoded, LABELS, strict=True)):
        path = root / "abc"[label] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return str(root)


def parquet(root: Path, encoded: list[bytes] = ENCODED, rows: int = 4) -> str:
    for number, start in enumerate(range(0, len(encoded), rows)):
        write_parquet(
            root / f"train-{number:05d}.parquet",
            encoded[start : start + rows],
            LABELS[start : start + rows],
            class_names=["a", "b", "c"],
        )
    return str(root)


BY_CLASS = sorted(range(len(LABELS)), key=lambda place: LABELS[place])


@pytest.mark.parametrize(("make", "order"), [(folder, BY_CLASS), (parquet, range(6))])
def test_images_keep_their_size_and_order(tmp_path: Path, make: Any, order: Any) -> None:
    images = open_images(make(tmp_path))
    assert len(images) == 6
    assert images.labels.tolist() == [LABELS[place] for place in order]
    assert (images.num_classes, images.class_names) == (3, ("a", "b", "c"))
    for index, place in [*enumerate(order), (3, order[3])]:
        found = images.read(index)
        np.testing.assert_array_equal(found, PIXELS[place])
        found[:] = 0  # a new array
        assert images.image(index).mode == "RGB"


@pytest.mark.parametrize("make", [folder, parquet])
def test_images_are_sent_to_other_processes_without_what_was_read(
    tmp_path: Path, make: Any
) -> None:
    images = open_images(make(tmp_path))
    before = pickle.dumps(images)
    images.read(0)
    assert len(pickle.dumps(images)) == len(before)
    assert len(before) < 4000
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        found = pool.map(images.read, range(6))
    for index in range(6):
        np.testing.assert_array_equal(found[index], images.read(index))


@pytest.mark.parametrize("make", [folder, parquet])
def test_opening_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    broken = [b"broken" + bytes(seed) for seed in range(6)]
    images = open_images(make(tmp_path, broken))
    assert images.labels.sum() == sum(LABELS)
    with pytest.raises(DataError, match=r"(0.png|row 0 \(0.png\)): not an image, or broken"):
        images.read(0)


@pytest.mark.parametrize("make", [folder, parquet])
def test_the_digest_is_of_names_sizes_and_labels(tmp_path: Path, make: Any) -> None:
    first = open_images(make(tmp_path / "1"))
    assert open_images(make(tmp_path / "elsewhere")).digest == first.digest
    longer = [*ENCODED[:-1], ENCODED[-1] + b"0"]
    assert open_images(make(tmp_path / "3", longer)).digest != first.digest


def test_the_digest_tells_labels_and_row_groups(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) / "a.parquet" for number in range(2)]
    for labels, path in zip(([0, 1], [1, 0]), paths, strict=True):
        write_parquet(path, ENCODED[:2], labels)
    assert paths[0].stat().st_size == paths[1].stat().st_size
    first, second = (open_images(str(path)) for path in paths)
    assert first.digest != second.digest


def test_a_data_set_by_name_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    given = image_set()
    monkeypatch.setattr(SOURCES, "get", lambda name: lambda *, image_size, split: given)
    images = open_images("CIFAR10", image_size=8)
    assert (images.digest, images.summary, images.blocks) == (given.digest, given.summary, None)
    np.testing.assert_array_equal(images.read(7), given.images[7].transpose(1, 2, 0))
    with pytest.raises(ValueError, match="random data are drawn, not loaded"):
        open_images("random")


@pytest.mark.parametrize(("make", "stand_in"), [(folder, 2), (parquet, 3)])
def test_the_next_of_its_class_stands_in_for_a_broken_image(
    tmp_path: Path, make: Any, stand_in: int
) -> None:
    broken = [*ENCODED]
    broken[4] = b"broken"  # of class 1, with image 1
    images = open_images(make(tmp_path, broken), SKIP)
    index = 3 if make is folder else 4
    assert images.labels[index] == images.labels[2 if make is folder else 1] == 1
    np.testing.assert_array_equal(images.read(index), PIXELS[1])
    with pytest.raises(DataError, match="not an image, or broken"):
        open_images(str(tmp_path)).read(index)


def test_a_class_of_broken_images_is_an_error(tmp_path: Path) -> None:
    images = open_images(
        folder(tmp_path, [ENCODED[0], b"1", *ENCODED[2:4], b"4", ENCODED[5]]), SKIP
    )
    with pytest.raises(
        DataError, match=r"/b/1.png: not an image.*; the next images of its class cannot be read"
    ):
        images.read(2)


@pytest.mark.parametrize("make", [folder, parquet])
def test_data_that_are_gone(tmp_path: Path, make: Any) -> None:
    images = open_images(make(tmp_path / "set"))
    (tmp_path / "set").rename(tmp_path / "other")
    with pytest.raises(DataError, match=r": is not on this machine, or was deleted after the run "):
        images.read(0)


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    images = open_images(parquet(tmp_path))
    write_parquet(tmp_path / "train-00000.parquet", ENCODED[:1], [0])
    with pytest.raises(
        DataError, match=r"train-00000.parquet: broken, or changed since it was ope"
    ):
        images.read(0)


def test_few_row_groups_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_images(parquet(tmp_path, rows=1))
    monkeypatch.setattr(parquet_images, "KEPT_BYTES", len(ENCODED[0]) + len(ENCODED[1]) + 1)
    encoded: Any = images.encoded
    for index in (0, 1, 0, 2, 1, 3):
        np.testing.assert_array_equal(images.read(index), PIXELS[index])
        assert index in encoded._kept
        assert encoded._kept_bytes() <= parquet_images.KEPT_BYTES
    assert images.blocks is not None
    assert images.blocks.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_row_group_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(parquet(tmp_path, rows=6))
    monkeypatch.setattr(parquet_images, "KEPT_BYTES", 500)
    with pytest.raises(
        DataError, match=r"a row group takes more than 0 MB, too much to read singl"
    ):
        images.read(0)


def test_what_a_long_image_could_be_enlarged_to_is_bounded(tmp_path: Path) -> None:
    long = encode(Image.new("1", (100_000, 1)), "PNG")
    images = open_images(parquet(tmp_path, [long, *ENCODED[1:]]))
    with pytest.raises(DataError, match=r"row 0 \(0.png\): image of 100000 x 1 pixels is too long"):
        images.read(0)


def test_names_of_any_bytes_are_kept() -> None:
    names = ["a/b.png", "", "ä", "\udcff.png"]
    texts = pickle.loads(pickle.dumps(Texts.of(names)))
    assert [texts[index] for index in range(len(texts))] == names
