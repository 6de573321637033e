"""What a rank reads: order, augmentation, shards."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasi_ray.data.batches import crop_and_flip
from nasi_ray.data.open import open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.order import Shard
from nasi_ray.training.images import (
    TrainImages,
    chosen_images,
    load_train_images,
    random_images,
)
from nasi_ray.training.loader import cut_out, make_loader
from nasi_ray.training.loop import share_of_cpus
from nasi_ray.training.recipes import RECIPES, TrainingConfig
from nasi_ray.training.settings import DataConfig
from tests.data.encoded import png

SMALL = dataclasses.replace(RECIPES["quick"], image_size=8, cutout=4, num_train_images=None)


def memory(chosen: Any = None) -> TrainImages:
    return TrainImages(
        train=random_images(8, "train"), test=random_images(8, "test"), chosen=chosen
    )


def read(
    images: TrainImages,
    config: TrainingConfig,
    *,
    rank: int = 0,
    size: int = 1,
    micro: int = 16,
    epoch: int = 0,
    start: int = 0,
    processes: int = 0,
    prefetch: bool = False,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    part = Shard(
        seed=config.seed, rank=rank, world_size=size, batch_size=32, micro_batch_size=micro
    )
    loader = make_loader(images, config, part, processes=processes, prefetch=prefetch)
    return [(x, y) for x, y in loader.train(epoch, start)]


def same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(one, other, strict=True)
    )


def test_an_epoch_has_every_image_once_in_an_order_of_its_own() -> None:
    images = memory(chosen=np.arange(64))
    labels = [torch.cat([y for _, y in read(images, SMALL, epoch=e)]) for e in (0, 1)]
    expected = np.bincount(images.train.labels[:64], minlength=10).tolist()
    for found in labels:
        assert torch.bincount(found, minlength=10).tolist() == expected
    assert not torch.equal(*labels)


def test_ranks_share_the_batches_of_one() -> None:
    images = memory()
    alone = read(images, SMALL)
    ranks = [read(images, SMALL, rank=r, size=2) for r in (0, 1)]
    assert same(alone[0::2], ranks[0])
    assert same(alone[1::2], ranks[1])


def test_an_epoch_is_continued_at_the_exact_batch() -> None:
    images = memory()
    assert same(read(images, SMALL, epoch=3)[2 * 5 :], read(images, SMALL, epoch=3, start=5))


def test_prefetching_changes_nothing() -> None:
    images = memory()
    assert same(read(images, SMALL), read(images, SMALL, prefetch=True))


@pytest.mark.parametrize("size", [1, 3])
def test_every_test_image_is_read_once(size: int) -> None:
    images, seen = memory(), []
    for rank in range(size):
        part = Shard(seed=0, rank=rank, world_size=size, batch_size=48, micro_batch_size=16)
        seen += [y for _, y in make_loader(images, SMALL, part, processes=0, prefetch=False).test()]
    assert torch.equal(torch.cat(seen), torch.tensor(images.test.labels))


def test_crops_and_flips_are_those_drawn() -> None:
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    same_place = np.full((2, 2), 1)
    assert np.array_equal(crop_and_flip(pixels, same_place, np.zeros(2, int), 1), pixels)
    flipped = crop_and_flip(pixels, same_place, np.ones(2, int), 1)
    assert np.array_equal(flipped, pixels[..., ::-1])
    moved = crop_and_flip(pixels, np.array([[0, 0], [1, 1]]), np.zeros(2, int), 1)
    assert not moved[:, :, 0].any()
    assert np.array_equal(moved[:, :, 1:], pixels[:, :, :-1])


def test_cutout_sets_a_square_to_zero() -> None:
    images = np.ones((1, 3, 8, 8), dtype=np.float32)
    cut_out(images, np.array([[3], [4]]), 4)
    zeros = np.argwhere(images[0, 0] == 0)
    assert zeros.min(0).tolist() == [1, 2]
    assert zeros.max(0).tolist() == [4, 5]
    assert (images == 0).sum() == 3 * 16


def test_a_larger_choice_holds_the_smaller_one() -> None:
    few, many = chosen_images(100, 10), chosen_images(100, 30)
    assert set(few) < set(many)
    assert many.tolist() == sorted(set(many))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 20), ("test", 5)):
        for label in ("cat", "dog"):
            place = tmp_path / split / label
            place.mkdir(parents=True)
            for number in range(count):
                seed = number + 100 * (label == "dog") + 1000 * (split == "test")
                (place / f"{number:02d}.png").write_bytes(png(seed, 12, 10))
    return tmp_path


TIMM = dataclasses.replace(
    RECIPES["imagenet-timm"], image_size=8, batch_size=32, random_erasing=0.5
)


def files(folder: Path) -> TrainImages:
    return load_train_images(DataConfig(data=str(folder)), TIMM)


def test_images_in_files_are_read_when_they_are_needed(folder: Path) -> None:
    images = files(folder)
    assert (images.num_train, len(images.test), images.num_classes) == (40, 10, 2)
    assert images.class_names == ("cat", "dog")
    batches = read(images, TIMM)
    assert [x.shape for x, _ in batches] == [(16, 3, 8, 8)] * 2


def test_files_are_augmented_by_seed_epoch_and_image_alone(folder: Path) -> None:
    images = files(folder)
    alone = read(images, TIMM)
    torch.manual_seed(7)
    assert same(alone, read(images, TIMM))
    assert same(alone[1:], read(images, TIMM, rank=1, size=2))
    assert not same(alone, read(images, TIMM, epoch=1))


@pytest.mark.integration
def test_processes_change_nothing(folder: Path) -> None:
    images = files(folder)
    assert same(read(images, TIMM), read(images, TIMM, processes=2))


def test_the_test_split_is_found_or_named(folder: Path) -> None:
    config = DataConfig(data=str(folder / "train"), test_data=str(folder / "test"))
    images = load_train_images(config, TIMM)
    assert (images.num_train, len(images.test)) == (40, 10)
    assert open_images(str(folder), ReadOptions(split="test")).digest == images.test.digest


def test_processes_share_the_cpus_of_their_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    found = []
    for processes in (None, "1", "4", "24"):
        if processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        found.append(share_of_cpus())
    assert found == [8, 8, 3, 1]
