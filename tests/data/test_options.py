"""Split, columns, text labels, broken images: what was asked for is read, and is said."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.config import SampleConfig
from nasi_ray.data.load import load_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import ConfigError, DataError
from nasi_ray.ranking.settings import RankConfig
from nasi_ray.run.identity import sample_settings
from nasi_ray.run.settings import data_options_without_effect
from tests.data.encoded import IMAGE_TYPE, png, write_parquet

IMAGES = [png(seed) for seed in range(6)]


def folder(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(seed))
    return root


def test_options_are_those_of_the_settings() -> None:
    options = dataclasses.asdict(ReadOptions())
    configs: tuple[SampleConfig | RankConfig, ...] = (SampleConfig(), RankConfig())
    for config in configs:
        for name, value in options.items():
            assert getattr(config, name) == value
            assert name not in sample_settings(config)  # as before there were any
            changes: dict[str, Any] = {name: True if value is False else "x"}
            assert name not in sample_settings(dataclasses.replace(config, **changes))
            other = dataclasses.replace(config, data="CIFAR10", **changes)
            assert sample_settings(other)[name] == getattr(other, name)
    changed = SampleConfig(split="test", image_column="a", label_column="b", skip_broken=True)
    assert dataclasses.astuple(ReadOptions.of(changed)) == ("test", "a", "b", True)


def test_options_have_no_effect_on_random_data() -> None:
    assert data_options_without_effect("random", {"split", "seed", "skip_broken"}) == [
        "--split, --skip-broken have no effect: no data set is named"
    ]
    assert data_options_without_effect("random", {"image_column"}) == [
        "--image-column has no effect: no data set is named"
    ]
    assert data_options_without_effect("CIFAR10", {"split"}) == []
    assert data_options_without_effect("random", {"seed"}) == []


@pytest.mark.parametrize("kind", [IMAGE_TYPE, pa.binary()], ids=str)
def test_columns_are_the_named_ones(tmp_path: Path, kind: Any) -> None:
    rows = [{"bytes": b, "path": ""} if kind == IMAGE_TYPE else b for b in IMAGES]
    table = pa.table(
        {
            "img": pa.array(rows, kind),
            "picture": pa.array(rows[::-1], kind),
            "label": [0, 1] * 3,
            "coarse": [0, 0, 1, 1, 2, 2],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    usual = load_images(str(tmp_path), image_size=8)
    options = ReadOptions(image_column="picture", label_column="coarse")
    named = load_images(str(tmp_path), options, image_size=8)
    assert (named.images == usual.images[::-1]).all()
    assert named.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"image_column": "x"}, r"lacks an image column x; it has img, label: .* --image-column$"),
        ({"label_column": "x"}, r"lacks a label column x; it has img, label: .* --label-column$"),
        ({"image_column": "label"}, r"column label is of type int64; it must be binary or struct"),
        (
            {"label_column": "img"},
            r"column img is of type struct<.*; it must be integers or text, or ",
        ),
    ],
)
def test_columns_that_are_not_there_or_hold_something_else(
    tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1] * 3)
    with pytest.raises(DataError, match=told):
        load_images(str(tmp_path), ReadOptions(**options), image_size=8)


@pytest.mark.parametrize("option", ["image_column", "label_column"])
def test_columns_are_refused_where_there_are_none(tmp_path: Path, option: str) -> None:
    folder(tmp_path, "a/x.png", "b/x.png")
    options = ReadOptions(**{option: "img"})  # type: ignore[arg-type]
    for source, kind in ((str(tmp_path), "an image folder"), ("CIFAR10", "a named data set")):
        with pytest.raises(ConfigError, match=rf"^{option} is 'img', but .* is {kind}, which has"):
            load_images(source, options, image_size=8)


TEXT_TYPES = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_texts_become_classes_in_sorted_order(tmp_path: Path, kind: Any) -> None:
    labels = ["dog", "cat", "äpfel", "cat", "bee", "dog"]
    write_parquet(tmp_path / "train-0.parquet", IMAGES[:3], labels[:3], label_type=kind)
    write_parquet(tmp_path / "train-1.parquet", IMAGES[3:], labels[3:], label_type=kind)
    found = load_images(str(tmp_path), image_size=8)
    assert found.labels.tolist() == [2, 1, 3, 1, 0, 2]
    assert found.num_classes == 4
    assert found.summary == (
        "split train; 2 files; texts of column label as classes, in sorted order; 4 classes "
        "(labels 0 to 3, bee to äpfel)"
    )


@pytest.mark.parametrize(
    ("label", "told"),
    [(None, "label is missing"), ("", "label is missing"), ("x" * 201, "is 201 characters long")],
)
def test_texts_that_are_no_labels(tmp_path: Path, label: str | None, told: str) -> None:
    labels = ["a", "b", label, "a", "b", "a"]
    path = write_parquet(tmp_path / "a.parquet", IMAGES, labels, label_type=pa.string())
    with pytest.raises(DataError, match=rf"a.parquet: row 2: .*{told}; a label has 1 to 200 char"):
        load_images(str(path), image_size=8)


def test_numbers_and_texts_do_not_mix(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1] * 3)
    write_parquet(tmp_path / "b.parquet", IMAGES, ["0", "1"] * 3, label_type=pa.string())
    with pytest.raises(DataError, match=r"b.parquet: its columns or classes differ from"):
        load_images(str(tmp_path), image_size=8)


def test_names_of_classes_are_said_with_those_without_images(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [1, 3] * 3, class_names="abcde")
    assert load_images(str(path), image_size=8).summary == (
        "1 file; 5 classes (labels 1 to 3, b to d); warning: no image of classes 0 (a), 2 (c), "
        "4 (e); labels count from 0"
    )


@pytest.mark.parametrize("split", ["test", "Testing", "tst"])
def test_a_split_is_read_from_folders_and_files(tmp_path: Path, split: str) -> None:
    folder(tmp_path / "i", *(f"{s}/{c}/x.png" for s in ("train", "test") for c in "ab"))
    for seed, name in enumerate(("train", "test")):
        images = [png(2 * seed), png(2 * seed + 1)]
        write_parquet(tmp_path / "p" / f"{name}.parquet", images, [0, 1])
    options = ReadOptions(split=split)
    found = [load_images(str(tmp_path / n), options, image_size=8) for n in "ip"]
    assert found[0].digest == found[1].digest
    assert [data.summary.split(";")[0] for data in found] == ["split test", "split test"]


def sources_without_splits(root: Path) -> list[str]:
    write_parquet(root / "p" / "all.parquet", IMAGES, [0, 1] * 3)
    folder(root / "i", "a/x.png", "b/x.png")
    return [str(root / "p"), str(root / "p" / "all.parquet"), str(root / "i")]


def test_all_is_read_where_there_are_no_splits_only_if_none_is_asked_for(tmp_path: Path) -> None:
    for source in sources_without_splits(tmp_path):
        assert len(load_images(source, ReadOptions(split="training"), image_size=8)) > 1
        for split in ("test", "validation", "unlabeled"):
            with pytest.raises(DataError, match=rf": no split '{split}': .* leave the split out"):
                load_images(source, ReadOptions(split=split), image_size=8)


def test_a_source_named_after_its_split_has_that_split(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "my-test.parquet", IMAGES, [0, 1] * 3)
    folder(tmp_path / "test", "a/x.png", "b/x.png")
    for source in (str(path), str(tmp_path / "test")):
        assert len(load_images(source, ReadOptions(split="test"), image_size=8)) > 1


SKIP = ReadOptions(skip_broken=True)


def test_broken_images_of_a_folder_are_skipped_counted_and_named(tmp_path: Path) -> None:
    folder(tmp_path, "a/1.png", "a/2.png", "b/1.png", "c/1.png")
    (tmp_path / "a" / "2.png").write_bytes(b"broken")
    os.mkfifo(tmp_path / "b" / "0.png")
    (tmp_path / "c" / "1.png").write_bytes(b"")
    with pytest.raises(DataError):
        load_images(str(tmp_path), image_size=8)
    found = load_images(str(tmp_path), SKIP, image_size=8)
    assert found.labels.tolist() == [0, 1]
    assert found.summary == (
        f"5 files; skipped 3 broken images: {tmp_path}/a/2.png, {tmp_path}/b/0.png, "
        f"{tmp_path}/c/1.png; 3 classes (labels 0 to 1, a to b); warning: no image of class 2 (c); "
        "labels count from 0"
    )


@pytest.mark.parametrize("labels", [[0, 1] * 3, ["b", "a"] * 3], ids=["numbers", "texts"])
def test_broken_images_of_parquet_are_skipped_counted_and_named(
    tmp_path: Path, labels: list[Any]
) -> None:
    images: list[Any] = [*IMAGES[:4], b"broken", {"bytes": None, "path": "far.png"}]
    kind = pa.string() if labels[0] == "b" else pa.int64()
    path = write_parquet(tmp_path / "a.parquet", images, labels, label_type=kind)
    found = load_images(str(path), SKIP, image_size=8)
    assert len(found) == 4
    assert found.num_classes == 2
    told = f"skipped 2 broken images: {path}: row 4 (4.png), {path}: row 5 (far.png); 2 classes"
    assert told in found.summary


def test_at_most_five_are_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [*IMAGES, *[b""] * 8], [0, 1] * 7)
    summary = load_images(str(path), SKIP, image_size=8).summary
    assert "skipped 8 broken images: " in summary
    assert "row 10 (10.png) and 3 more; " in summary


def test_nothing_but_broken_images_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [b"", b""], [0, 1])
    with pytest.raises(
        DataError, match=r"all 2 images are broken, such as .*row 0 \(0.png\); leav"
    ):
        load_images(str(path), SKIP, image_size=8)


def test_a_wrong_label_is_no_broken_image(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1, -1, 0, 1, 0])
    with pytest.raises(DataError, match="label is -1"):
        load_images(str(path), SKIP, image_size=8)


def test_same_images_are_the_same_data_however_they_are_chosen(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, [0, 1] * 3)
    other = write_parquet(
        tmp_path / "b.parquet", IMAGES, ["x", "y"] * 3, label_column="kind", label_type=pa.string()
    )
    found = load_images(str(other), ReadOptions(label_column="kind"), image_size=8)
    assert found.digest == load_images(str(path), SKIP, image_size=8).digest
