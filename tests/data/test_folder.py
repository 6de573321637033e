"""Image folders: classes by name, splits, and errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nasi_ray.data.load import load_images
from nasi_ray.errors import DataError
from tests.data.encoded import pixels, png, write_parquet


def _write(root: Path, files: dict[str, int]) -> Path:
    for name, seed in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(seed))
    return root


def _seeds(root: Path, split: str = "train") -> list[tuple[int, int]]:
    """(seed of the image, label) in order."""
    data = load_images(str(root), image_size=8, split=split)
    seeds = [
        next(s for s in range(9) if (pixels(s, 8, 8).transpose(2, 0, 1) == image).all())
        for image in data.images
    ]
    return list(zip(seeds, data.labels.tolist(), strict=True))


def test_classes_and_files_are_sorted_by_name(tmp_path: Path) -> None:
    _write(tmp_path, {"dog/b.png": 3, "dog/a.PNG": 2, "cat/z.png": 1, "ant/deep/x.png": 0})
    assert _seeds(tmp_path) == [(0, 0), (1, 1), (2, 2), (3, 2)]
    assert load_images(str(tmp_path), image_size=8).num_classes == 3


def test_other_files_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    _write(tmp_path, {"a/x.png": 0, "b/x.png": 1, "a/.x.png": 2, ".git/x.png": 3, "y.png": 4})
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    assert _seeds(tmp_path) == [(0, 0), (1, 1)]


def test_split_folder_is_used_where_there_is_one(tmp_path: Path) -> None:
    _write(tmp_path, {"train/a/x.png": 0, "train/b/x.png": 1, "test/a/x.png": 2, "test/b/x.png": 3})
    assert _seeds(tmp_path) == [(0, 0), (1, 1)]
    assert _seeds(tmp_path, "test") == [(2, 0), (3, 1)]


def test_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    _write(tmp_path, {"train/a/x.png": 0, "val/a/x.png": 1, "extra/x.png": 2})
    with pytest.raises(DataError, match=r": no split 'test'; it has train, val$"):
        load_images(str(tmp_path), image_size=8, split="test")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    _write(tmp_path, {"bus/x.png": 0, "train/x.png": 1})
    assert _seeds(tmp_path) == [(0, 0), (1, 1)]


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    _write(tmp_path / "far", {"a/x.png": 0, "b/x.png": 1, "more/y.png": 2})
    (tmp_path / "near").mkdir()
    for name in "ab":
        (tmp_path / "near" / name).symlink_to(tmp_path / "far" / name)
    (tmp_path / "far" / "b" / "more").symlink_to(tmp_path / "far" / "more")
    assert _seeds(tmp_path / "near") == [(0, 0), (2, 1), (1, 1)]


def test_same_data_as_parquet_have_the_same_digest(tmp_path: Path) -> None:
    _write(tmp_path / "folder", {"a/x.png": 0, "b/x.png": 1})
    write_parquet(tmp_path / "a.parquet", [png(0), png(1)], [0, 1])
    folder = load_images(str(tmp_path / "folder"), image_size=8)
    assert folder.digest == load_images(str(tmp_path / "a.parquet"), image_size=8).digest


def test_broken_image_is_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a/x.png": 0, "b/x.png": 1})
    (tmp_path / "b" / "y.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"/b/y.jpg: not an image, or broken; replace or remove it"):
        load_images(str(tmp_path), image_size=8)


def test_class_without_images_is_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a/x.png": 0, "b/x.png": 1})
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"/c: no image in this class folder; remove it or add ima"):
        load_images(str(tmp_path), image_size=8)


def test_folder_without_class_folders(tmp_path: Path) -> None:
    _write(tmp_path, {"x.png": 0})
    with pytest.raises(DataError, match=r"neither Parquet files nor class folders in it; give a d"):
        load_images(str(tmp_path), image_size=8)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    _write(tmp_path, {"a/x.png": 0, "a/y.png": 1})
    with pytest.raises(DataError, match=r": 1 class; a data set needs at least 2 classes$"):
        load_images(str(tmp_path), image_size=8)


def test_order_does_not_depend_on_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, {f"{c}/{i}.png": i for i in range(4) for c in "abc"})
    reference = load_images(str(tmp_path), image_size=8)
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(list(listed(self))))
    walked = os.walk

    def walk_reversed(top: Path, followlinks: bool) -> Iterator[tuple[str, list[str], list[str]]]:
        for parent, folders, names in walked(top, followlinks=followlinks):
            yield parent, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", walk_reversed)
    again = load_images(str(tmp_path), image_size=8)
    np.testing.assert_array_equal(reference.images, again.images)
    assert reference.digest == again.digest
