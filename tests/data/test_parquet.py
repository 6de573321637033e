"""Parquet sets: Hugging Face layout, columns, classes, and errors that name the row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.data.load import load_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError
from tests.data.encoded import IMAGE_TYPE, pixels, png, write_parquet

IMAGES = [png(seed) for seed in range(4)]
BAD_FEATURES: list[Any] = [{}, [], {"label": []}, {"label": {"names": 5}}]
EXPECTED = np.stack([pixels(seed, 8, 8).transpose(2, 0, 1) for seed in range(4)])


def test_rows_come_in_order(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [2, 0, 1, 0])
    data = load_images(str(path), image_size=8)
    np.testing.assert_array_equal(data.images, EXPECTED, strict=True)
    np.testing.assert_array_equal(data.labels, np.array([2, 0, 1, 0], dtype=np.int64), strict=True)
    assert (data.num_classes, data.source, len(data), data.image_size) == (3, str(path), 4, 8)


@pytest.mark.parametrize("image_column", ["img", "image"])
@pytest.mark.parametrize("label_column", ["label", "fine_label", "labels"])
@pytest.mark.parametrize("image_type", [IMAGE_TYPE, pa.binary(), pa.large_binary()])
def test_column_names_and_types(
    tmp_path: Path, image_column: str, label_column: str, image_type: object
) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        IMAGES,
        [0, 1, 0, 1],
        image_column=image_column,
        label_column=label_column,
        image_type=image_type,
        label_type=pa.int32(),
    )
    data = load_images(str(path), image_size=8)
    np.testing.assert_array_equal(data.images, EXPECTED)
    assert data.labels.tolist() == [0, 1, 0, 1]


def test_class_names_fix_the_number_of_classes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, 0, 1], class_names="abcdef")
    assert load_images(str(path), image_size=8).num_classes == 6


def test_same_content_is_the_same_data_under_another_path_and_cut(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "whole.parquet", IMAGES, [0, 1, 0, 1])
    for i in range(4):
        write_parquet(tmp_path / f"cut/train-{i:05}-of-00004.parquet", [IMAGES[i]], [i % 2])
    digests = {load_images(str(p), image_size=8).digest for p in (whole, tmp_path / "cut")}
    assert len(digests) == 1


@pytest.mark.parametrize("folder", ["", "data/", "plain_text/"])
def test_split_is_chosen_by_file_name(tmp_path: Path, folder: str) -> None:
    write_parquet(tmp_path / f"{folder}train-00000-of-00002.parquet", IMAGES[:2], [0, 1])
    write_parquet(tmp_path / f"{folder}train-00001-of-00002.parquet", IMAGES[2:], [0, 1])
    write_parquet(tmp_path / f"{folder}test-00000-of-00001.parquet", IMAGES[3:], [1])
    train = load_images(str(tmp_path), image_size=8)
    test = load_images(str(tmp_path), options=ReadOptions(split="test"), image_size=8)
    np.testing.assert_array_equal(train.images, EXPECTED)
    np.testing.assert_array_equal(test.images, EXPECTED[3:])


@pytest.mark.parametrize("pattern", ["{}.parquet", "{}_a.parquet", "{}/0000.parquet"])
def test_split_is_known_by_other_names_too(tmp_path: Path, pattern: str) -> None:
    write_parquet(tmp_path / pattern.format("train"), IMAGES[:2], [0, 1])
    write_parquet(tmp_path / pattern.format("test"), IMAGES[2:], [0, 1])
    test = load_images(str(tmp_path), options=ReadOptions(split="test"), image_size=8)
    np.testing.assert_array_equal(test.images, EXPECTED[2:])


def test_all_files_are_read_where_none_names_a_split(tmp_path: Path) -> None:
    write_parquet(tmp_path / "part-00000.parquet", IMAGES[:3], [0, 1, 1])
    write_parquet(tmp_path / "part-00001.parquet", IMAGES[3:], [0])
    write_parquet(tmp_path / ".hidden.parquet", IMAGES, [0, 1, 0, 1])
    write_parquet(tmp_path / ".cache/x.parquet", IMAGES, [0, 1, 0, 1])
    np.testing.assert_array_equal(load_images(str(tmp_path), image_size=8).images, EXPECTED)


def test_split_that_is_not_there_is_not_replaced_by_another(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00000-of-00001.parquet", IMAGES, [0, 1, 0, 1])
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", IMAGES, [0, 1, 0, 1])
    with pytest.raises(DataError, match=r": no split 'test'; it has train, validation$"):
        load_images(str(tmp_path), options=ReadOptions(split="test"), image_size=8)


def test_files_of_a_split_in_two_folders_are_ambiguous(tmp_path: Path) -> None:
    for folder in ("small", "large"):
        write_parquet(tmp_path / folder / "train-00000-of-00001.parquet", IMAGES, [0, 1, 0, 1])
    with pytest.raises(DataError, match=r"in several folders; name one of .*/large, .*/small$"):
        load_images(str(tmp_path), image_size=8)


def test_missing_columns_name_what_is_there(tmp_path: Path) -> None:
    image = write_parquet(tmp_path / "a.parquet", IMAGES, [0] * 4, image_column="picture")
    with pytest.raises(
        DataError,
        match=r"lacks an image column img or image; it has picture, label: name one of",
    ):
        load_images(str(image), image_size=8)
    label = write_parquet(tmp_path / "b.parquet", IMAGES, [0] * 4, label_column="class")
    with pytest.raises(
        DataError,
        match=r"lacks a label column label or fine_label or labels; it has img, class: name",
    ):
        load_images(str(label), image_size=8)


def test_columns_of_another_type_are_named(tmp_path: Path) -> None:
    image = write_parquet(tmp_path / "a.parquet", list("abcd"), [0] * 4, image_type=pa.string())
    with pytest.raises(DataError, match=r"column img is of type string; it must be binary or stru"):
        load_images(str(image), image_size=8)
    label = write_parquet(tmp_path / "b.parquet", IMAGES, [0.5] * 4, label_type=pa.float32())
    with pytest.raises(DataError, match=r"column label is of type float; it must be integers or t"):
        load_images(str(label), image_size=8)
    struct = pa.struct([("path", pa.string())])
    paths = [{"path": "x"}] * 4
    path = write_parquet(tmp_path / "c.parquet", paths, [0] * 4, image_type=struct)
    with pytest.raises(DataError, match=r"column img is of type struct<path: string>; it must be"):
        load_images(str(path), image_size=8)


@pytest.mark.parametrize("image_type", [IMAGE_TYPE, pa.binary()])
def test_broken_image_is_named_by_file_and_row(tmp_path: Path, image_type: object) -> None:
    images = [*IMAGES[:3], b"broken"]
    path = write_parquet(tmp_path / "a.parquet", images, [0, 1, 0, 1], image_type=image_type)
    name = r" \(3.png\)" if image_type == IMAGE_TYPE else ""
    with pytest.raises(DataError, match=rf"a.parquet: row 3{name}: not an image, or broken"):
        load_images(str(path), image_size=8)


def test_row_is_counted_within_its_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, 0, 1])
    write_parquet(tmp_path / "b.parquet", [IMAGES[0], b"broken"], [0, 1])
    with pytest.raises(DataError, match=r"b.parquet: row 1 \(1.png\): not an image"):
        load_images(str(tmp_path), image_size=8)


@pytest.mark.parametrize("missing", [None, {"bytes": None, "path": "far/away.png"}])
def test_row_without_bytes_is_named(tmp_path: Path, missing: object) -> None:
    path = write_parquet(tmp_path / "a.parquet", [IMAGES[0], missing], [0, 1])
    with pytest.raises(DataError, match=r"a.parquet: row 1.*: no image bytes; every row must hold"):
        load_images(str(path), image_size=8)


@pytest.mark.parametrize("label", [None, -1])
def test_null_and_negative_labels_are_named(tmp_path: Path, label: int | None) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, label, 0])
    given = "null" if label is None else "-1"
    with pytest.raises(DataError, match=rf"row 2 \(2.png\): label is {given}; labels count from 0"):
        load_images(str(path), image_size=8)


def test_label_beyond_the_named_classes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, 2, 0], class_names="ab")
    with pytest.raises(DataError, match=r"row 2 .*: label is 2 and the metadata names 2 classes"):
        load_images(str(path), image_size=8)


def test_files_with_other_classes_do_not_mix(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, 0, 1], class_names="ab")
    write_parquet(tmp_path / "b.parquet", IMAGES, [0, 1, 0, 1], class_names="abc")
    with pytest.raises(DataError, match=r"b.parquet: its columns or classes differ .*a.parquet"):
        load_images(str(tmp_path), image_size=8)


def test_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"a.parquet: not a readable Parquet file \(.*\); give a"):
        load_images(str(path), image_size=8)


def test_damaged_pages_are_an_error_about_the_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES * 50, [0, 1] * 100)
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a.parquet: not a readable Parquet file \(") as caught:
        load_images(str(path), image_size=8)
    assert "\n" not in str(caught.value)


def test_no_rows(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [], [])
    with pytest.raises(DataError, match=r"a.parquet: no images; name a data set that has some$"):
        load_images(str(path), image_size=8)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[1]", "[" * 200_000),
        *(json.dumps({"info": {"features": features}}) for features in BAD_FEATURES),
    ],
)
def test_metadata_that_does_not_describe_the_labels(tmp_path: Path, text: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, 0, 1])
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": text}), path)
    with pytest.raises(DataError, match=r"metadata 'huggingface' does not describe column label;"):
        load_images(str(path), image_size=8)


def test_images_of_other_sizes_are_fitted(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(0, 20, 30), png(1, 9, 8), png(2)], [0, 1, 0])
    data = load_images(str(path), image_size=8)
    assert data.images.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(data.images[2], EXPECTED[2])


@pytest.mark.parametrize(
    ("train", "test", "wanted"),
    [
        ("cifar10-train", "cifar10-test", "test"),
        ("x_Training", "x_TESTING", "test"),
        ("TRN", "tst", "test"),
        ("my.train.2", "my.dev.2", "valid"),
        ("CifarTrain", "CifarVal", "validation"),
        ("Training/0000", "Val/0000", "val"),
        ("my-train/0000", "my-valid/0000", "dev"),
        ("train2017", "validation2017", "valid"),
    ],
)
def test_a_split_is_any_word_of_the_name(
    tmp_path: Path, train: str, test: str, wanted: str
) -> None:
    write_parquet(tmp_path / f"{train}.parquet", IMAGES[:2], [0, 1])
    write_parquet(tmp_path / f"{test}.parquet", IMAGES[2:], [0, 1])
    train_set = load_images(str(tmp_path), image_size=8)
    test_set = load_images(str(tmp_path), options=ReadOptions(split=wanted), image_size=8)
    np.testing.assert_array_equal(train_set.images, EXPECTED[:2])
    np.testing.assert_array_equal(test_set.images, EXPECTED[2:])
    assert train_set.summary.startswith("split train; 1 file; 2 classes")


@pytest.mark.parametrize("name", ["trainer", "contest", "device", "invalid", "protest", "pretrain"])
def test_a_split_within_a_word_is_none(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path / f"{name}-0.parquet", IMAGES[:2], [0, 1])
    write_parquet(tmp_path / f"{name}-1.parquet", IMAGES[2:], [0, 1])
    assert len(load_images(str(tmp_path), image_size=8)) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train-val", "test"], r"contain more than one split: train-val.parquet; rename the fil"),
        (
            ["train", "training"],
            r"spellings of one split \(train.parquet, training.parquet\); name",
        ),
        (
            ["a-train", "b-train"],
            r"several data sets, .*\(a-train.parquet, b-train.parquet\); name ",
        ),
        (["a10-train", "a100-train"], r"\(a10-train.parquet, a100-train.parquet\); name one file"),
        (["x-dev", "x-test"], r": no split 'train'; it has test, validation$"),
    ],
)
def test_ambiguous_splits_are_refused_and_named(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        write_parquet(tmp_path / f"{name}.parquet", IMAGES, [0, 1, 0, 1])
    with pytest.raises(DataError, match=message) as caught:
        load_images(str(tmp_path), image_size=8)
    assert "\n" not in str(caught.value)


def test_names_of_two_splits_that_are_the_only_ones_are_all_read(tmp_path: Path) -> None:
    for i in range(2):
        write_parquet(tmp_path / f"train_val-0000{i}-of-00002.parquet", IMAGES[i::2], [0, 1])
    assert len(load_images(str(tmp_path), image_size=8)) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train-00000-of-00003", "train-00002-of-00003"],
            r": only 2 of 3 files are there; missing: train-00001-of-00003.parquet; add them, or ",
        ),
        (
            ["train-00004-of-00005-0a"],
            r": only 1 of 5 files are there; missing: train-00000-of-00005-0a.parquet, train-0",
        ),
        (["x_1_of_3", "x_2_of_3"], r": only 2 of 3 files .*; missing: x_0_of_3.parquet; add them"),
        (["x-1-of-3", "x-3-of-3"], r": only 2 of 3 files .*; missing: x-2-of-3.parquet; add them"),
        (
            ["x-0-of-999999999"],
            r": only 1 of 999999999 files are there; missing: x-1-of.* and 999999993 more; ",
        ),
        (
            ["train-00000-of-00001-0a", "train-00000-of-00001-0b"],
            r"one set of the same files \(train-00000-of-00001-0a.parquet, train-00000-of-00001-0b",
        ),
        (
            ["train-0-of-2", "train-1-of-2", "train-0-of-3"],
            r"more than one set of the same files \(train-0-of-2.parquet, train-0-of-3.parquet\); ",
        ),
        (
            ["train", "train-00000-of-00001"],
            r"set of the same files \(train.parquet, train-00000-of-00001.parquet\); keep one set$",
        ),
    ],
)
def test_incomplete_and_doubled_sets_of_files_are_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        write_parquet(tmp_path / f"{name}.parquet", IMAGES, [0, 1, 0, 1])
    with pytest.raises(DataError, match=message):
        load_images(str(tmp_path), image_size=8)


@pytest.mark.parametrize("pattern", ["x-{}-of-3", "train_{:02}_of_03"])
@pytest.mark.parametrize("start", [0, 1])
def test_complete_sets_count_from_0_or_1(tmp_path: Path, pattern: str, start: int) -> None:
    for i in range(3):
        write_parquet(tmp_path / f"{pattern.format(i + start)}.parquet", IMAGES[:2], [0, 1])
    assert len(load_images(str(tmp_path), image_size=8)) == 6


def test_another_splits_missing_files_do_not_matter(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00000-of-00001.parquet", IMAGES, [0, 1, 0, 1])
    write_parquet(tmp_path / "test-00000-of-00002.parquet", IMAGES, [0, 1, 0, 1])
    assert len(load_images(str(tmp_path), image_size=8)) == 4


def test_what_was_read_and_left_out_is_said(tmp_path: Path) -> None:
    for name in ("data/train-0", "data/train-1", "data/test", "data/extra", "a/b/deep"):
        write_parquet(tmp_path / f"{name}.parquet", IMAGES, [1, 2, 4, 1])
    write_parquet(tmp_path / "__MACOSX/train.parquet", IMAGES, [0, 1, 0, 1])
    (tmp_path / "README.md").write_text("about")
    assert load_images(str(tmp_path), image_size=8).summary == (
        "split train; 2 files; left out: 2 .parquet, 1 .md, 1 __MACOSX; 5 classes (labels 1 to 4); "
        "warning: no image of classes 0, 3; labels count from 0"
    )


def test_suffix_in_any_case(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", IMAGES[:2], [0, 1])
    write_parquet(tmp_path / "b.PARQUET", IMAGES[2:], [0, 1])
    np.testing.assert_array_equal(load_images(str(tmp_path), image_size=8).images, EXPECTED)


@pytest.mark.parametrize("label", [100_000, 2**63, 2**64 - 1])
@pytest.mark.parametrize("class_names", [None, "ab"])
def test_label_too_large_is_named_with_its_row(
    tmp_path: Path, label: int, class_names: str | None
) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        IMAGES,
        [0, 1, label, 0],
        label_type=pa.uint64(),
        class_names=class_names,
    )
    with pytest.raises(DataError, match=rf"a.parquet: row 2 \(2.png\): label is {label}[; ]"):
        load_images(str(path), image_size=8)


@pytest.mark.parametrize("name", ["label", "extra"])
def test_a_name_of_a_column_that_is_not_utf_8_is_one_line(tmp_path: Path, name: str) -> None:
    table = pa.table({"img": IMAGES, "label": [0, 1] * 2, "extra": [0] * 4})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(name.encode(), b"\xff" * 5))
    with pytest.raises(
        DataError, match=r"a.parquet: not a readable Parquet file \(.*utf-8"
    ) as caught:
        load_images(str(path), image_size=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["img", "label"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, column: str) -> None:
    columns = {"img": pa.array(IMAGES), "label": pa.array([0, 1] * 2)}
    names = [*columns, column]
    table = pa.Table.from_arrays([columns[name] for name in names], names)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a.parquet: has more than one column {column}; keep one"):
        load_images(str(tmp_path), image_size=8)


@pytest.mark.parametrize("values", [[["a"]] * 4, [[0]] * 4, [0.5] * 4, [True] * 4], ids=str)
def test_labels_of_another_type_are_refused(tmp_path: Path, values: list[Any]) -> None:
    pq.write_table(pa.table({"img": IMAGES, "label": values}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column label is of type .*; it must be integers or text"):
        load_images(str(tmp_path), image_size=8)


@pytest.mark.parametrize("names", [5, {"a": 1}, [1, 2], [["a"], ["b"]], "ab", True])
def test_names_of_classes_of_another_type_are_refused(tmp_path: Path, names: Any) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, 0, 1])
    text = json.dumps({"info": {"features": {"label": {"names": names}}}})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": text}), path)
    with pytest.raises(DataError, match=r"metadata 'huggingface' does not describe column label;"):
        load_images(str(path), image_size=8)
