"""Image folders: classes by name, splits, and errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasi_ray.data.decode import FORMATS
from nasi_ray.data.folder import EXTENSIONS
from nasi_ray.data.load import load_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError
from tests.data.encoded import pixels, png, write_parquet


def _write(root: Path, files: dict[str, int]) -> Path:
    for name, seed in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(seed))
    return root


def _seeds(root: Path, split: str = "train") -> list[tuple[int, int]]:
    """(seed of the image, label) in order."""
    data = load_images(str(root), options=ReadOptions(split=split), image_size=8)
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
        load_images(str(tmp_path), options=ReadOptions(split="test"), image_size=8)


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

    def walk_reversed(top: Path, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for parent, folders, names in walked(top, **options):
            yield parent, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", walk_reversed)
    again = load_images(str(tmp_path), image_size=8)
    np.testing.assert_array_equal(reference.images, again.images)
    assert reference.digest == again.digest


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRN", "tst"),
        ("cifar10-train", "cifar10-test"),
        ("train_1", "x.dev"),
    ],
)
def test_a_split_is_any_word_of_a_folder_name(tmp_path: Path, train: str, test: str) -> None:
    _write(tmp_path, {f"{train}/{c}/x.png": i for i, c in enumerate("abc")})
    _write(tmp_path, {f"{test}/{c}/x.png": i + 3 for i, c in enumerate("abc")})
    assert _seeds(tmp_path) == [(0, 0), (1, 1), (2, 2)]
    other = "val" if test == "x.dev" else "test"
    assert _seeds(tmp_path, other) == [(3, 0), (4, 1), (5, 2)]


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev", "VAL"])
@pytest.mark.parametrize("wanted", ["val", "valid", "validation"])
def test_every_spelling_of_validation_is_one_split(tmp_path: Path, word: str, wanted: str) -> None:
    _write(tmp_path, {"train/a/x.png": 0, "train/b/x.png": 1})
    _write(tmp_path, {f"{word}/a/x.png": 2, f"{word}/b/x.png": 3})
    assert _seeds(tmp_path, wanted) == [(2, 0), (3, 1)]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train", "test"], r": test, train are splits without class folders; give each split one"),
        (["Train", "x-test", "DEV"], r": DEV, Train, x-test are splits without class folders; "),
        (["train", "test", "bus"], r": test, train are splits without class folders; "),
        (
            ["train/a", "Training/a"],
            r"ambiguous which folder is split 'train' \(Training, train\); give the path",
        ),
        (["train-val/a", "test/a"], r"ambiguous which .* split 'train' \(train-val\); give the "),
        (
            ["c-train/a", "c-test/a", "bus"],
            r": c-test, c-train look like splits and bus like class",
        ),
        (
            ["cat/train", "cat/test", "dog/train"],
            r"/cat: splits \(test, train\) below a class; put",
        ),
        (["x-dev/a", "x-test/a"], r": no split 'train'; it has x-dev, x-test$"),
    ],
)
def test_folders_that_may_be_splits_are_refused(
    tmp_path: Path, folders: list[str], message: str
) -> None:
    _write(tmp_path, {f"{folder}/x.png": i for i, folder in enumerate(folders)})
    with pytest.raises(DataError, match=message) as caught:
        load_images(str(tmp_path), image_size=8)
    assert "\n" not in str(caught.value)


def test_classes_named_after_a_split_stay_classes(tmp_path: Path) -> None:
    _write(tmp_path, {"bullet_train/x.png": 0, "steam_train/x.png": 1})
    assert _seeds(tmp_path) == [(0, 0), (1, 1)]
    _write(tmp_path, {"bus/x.png": 2, "test_tube/x.png": 3})
    assert _seeds(tmp_path) == [(0, 0), (2, 1), (1, 2), (3, 3)]


HOUSEKEEPING = [".ipynb_checkpoints", "__MACOSX", "__pycache__", ".git", "@eaDir", "$RECYCLE.BIN"]


@pytest.mark.parametrize("name", HOUSEKEEPING)
@pytest.mark.parametrize("depth", ["", "a/", "a/deep/", "train/", "train/a/"])
def test_housekeeping_folders_are_skipped_at_every_depth(
    tmp_path: Path, name: str, depth: str
) -> None:
    top = "train/" if depth.startswith("train/") else ""
    _write(tmp_path, {f"{top}a/deep/x.png": 0, f"{top}b/x.png": 1})
    _write(tmp_path, {f"{depth}{name}/x.png": 2, f"{depth}{name}/c/x.png": 3})
    assert _seeds(tmp_path) == [(0, 0), (1, 1)]
    assert f"left out: 1 {name}" in load_images(str(tmp_path), image_size=8).summary


def test_what_was_read_and_left_out_is_said(tmp_path: Path) -> None:
    _write(tmp_path, {"train/a/x.png": 0, "train/b/x.jfif": 1, "test/a/x.png": 2, "train/y.png": 3})
    (tmp_path / "extra").mkdir()
    for name in ("Thumbs.db", ".DS_Store", "notes.TXT", "more.txt", "photo.heic", "._x.png"):
        (tmp_path / "train" / "a" / name).write_text("")
    assert load_images(str(tmp_path), image_size=8).summary == (
        "split train; 2 files; left out: 2 .txt, 1 .DS_Store, 1 .heic, 1 .png, 1 extra, "
        "2 of other kinds; 2 classes (labels 0 to 1, a to b)"
    )


def test_every_suffix_of_the_formats_is_read(tmp_path: Path) -> None:
    Image.init()
    suffixes = {s for s, name in Image.EXTENSION.items() if name in FORMATS} - {".pfm"}
    assert set(EXTENSIONS) == suffixes
    names = [f"a/{i:02}{suffix}" for i, suffix in enumerate(sorted(suffixes))]
    _write(tmp_path, {**dict.fromkeys(names, 0), "b/x.PNG": 1})
    assert len(_seeds(tmp_path)) == len(suffixes) + 1


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    _write(tmp_path, {"a/x.png": 0, "b/x.png": 1})
    for i in range(30):
        (tmp_path / "a" / f"loop{i}").symlink_to(tmp_path / "a")
    assert _seeds(tmp_path) == [(0, 0), (1, 1)]
    summary = load_images(str(tmp_path), image_size=8).summary
    assert "left out: 30 linked folders met before" in summary


@pytest.mark.timeout(60)
@pytest.mark.parametrize("top", ["", "train/"])
def test_links_between_classes_bring_no_image_of_another_class(tmp_path: Path, top: str) -> None:
    names = "abcdefghi"
    _write(tmp_path, {f"{top}{name}/x.png": i for i, name in enumerate(names)})
    root = tmp_path / top
    for name in names:
        for other in {*(root / n for n in names), root, tmp_path}:
            (root / name / f"to-{other.name}").symlink_to(other)
    assert _seeds(tmp_path) == [(i, i) for i in range(len(names))]


def test_a_folder_that_two_classes_share_is_read_in_both(tmp_path: Path) -> None:
    _write(tmp_path, {"a/x.png": 0, "b/y.png": 1})
    shared = _write(tmp_path.parent / f"{tmp_path.name}-shared", {"z.png": 2})
    for name in "ab":
        (tmp_path / name / "more").symlink_to(shared)
    assert sorted(_seeds(tmp_path)) == [(0, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_that_may_not_be_read_is_not_left_out(tmp_path: Path) -> None:
    _write(tmp_path, {"a/x.png": 0, "b/x.png": 1})
    (tmp_path / "a" / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match=r"cannot be read \(.*Permission denied"):
        load_images(str(tmp_path), image_size=8)
