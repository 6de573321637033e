"""Batches are pure functions of (seed, index), and what each setting means."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import transforms
from torchvision.transforms import functional

from nasi_ray.data.batches import Batches, ImageBatches, RandomBatches, crop_flip, normalise
from nasi_ray.data.image_set import ImageSet, make_image_set
from nasi_ray.errors import DataError
from nasi_ray.seeding import generator
from tests.data.encoded import image_set

IMAGES = image_set()
BATCHES: dict[str, Batches] = {
    "random": RandomBatches(seed=3, batch_size=6, image_size=8, num_classes=4),
    "true": ImageBatches(images=IMAGES, seed=3, batch_size=6),
    "random-labels": ImageBatches(images=IMAGES, seed=3, batch_size=6, labels="random"),
    "permuted": ImageBatches(images=IMAGES, seed=3, batch_size=6, labels="permuted"),
    "crop-flip": ImageBatches(images=IMAGES, seed=3, batch_size=6, augment="crop-flip"),
}
every_kind = pytest.mark.parametrize("kind", BATCHES)


def _rows(images: torch.Tensor) -> list[int]:
    """Which image of ``IMAGES`` each row of a batch is."""
    normal = torch.from_numpy(normalise(IMAGES.images, IMAGES.mean, IMAGES.std))
    return [int((normal == image).flatten(1).all(1).nonzero().item()) for image in images]


@every_kind
def test_batch_has_the_shapes_and_types_promised(kind: str) -> None:
    images, labels = BATCHES[kind].batch(0)
    assert (images.shape, images.dtype) == ((6, 3, 8, 8), torch.float32)
    assert (labels.shape, labels.dtype) == ((6,), torch.int64)
    assert BATCHES[kind].num_classes == 4
    assert labels.min() >= 0
    assert labels.max() < 4
    assert images.is_contiguous()
    images.add_(1)


@every_kind
@settings(deadline=None, max_examples=25, derandomize=True)
@given(index=st.integers(0, 2**40), before=st.lists(st.integers(0, 50), max_size=4))
def test_batch_depends_on_its_index_alone(kind: str, index: int, before: list[int]) -> None:
    batches = BATCHES[kind]
    images, labels = batches.batch(index)
    for other in before:
        batches.batch(other)
    torch.rand(7)
    again = pickle.loads(pickle.dumps(batches)).batch(index)
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])


@every_kind
def test_other_indices_and_seeds_give_other_batches(kind: str) -> None:
    seen = [BATCHES[kind].batch(index)[0] for index in range(20)]
    other: Any = BATCHES[kind]
    seen.append(replace(other, seed=4).batch(0)[0])
    for i, first in enumerate(seen):
        assert not any(torch.equal(first, second) for second in seen[:i])


def test_labels_vary_with_the_index_where_they_are_drawn() -> None:
    for kind in ("random", "random-labels", "permuted"):
        drawn = {tuple(BATCHES[kind].batch(index)[1].tolist()) for index in range(20)}
        assert len(drawn) > 15


def test_random_pixels_are_standard_normal_and_labels_uniform() -> None:
    batches = RandomBatches(seed=0, batch_size=512, image_size=16, num_classes=10)
    images, labels = batches.batch(7)
    # Six standard errors: 393,216 pixels and 512 labels.
    assert abs(images.mean().item()) < 6 / 393_216**0.5
    assert abs(images.var().item() - 1) < 6 * (2 / 393_216) ** 0.5
    assert abs((images > 1).float().mean().item() - 0.158655) < 0.0035
    counts = torch.bincount(labels, minlength=10)
    assert (counts - 51.2).abs().max() < 6 * (512 * 0.09) ** 0.5


def test_a_batch_never_holds_an_image_twice_and_all_images_are_used() -> None:
    batches = ImageBatches(images=IMAGES, seed=0, batch_size=39)
    used: set[int] = set()
    for index in range(8):
        rows = _rows(batches.batch(index)[0])
        assert len(set(rows)) == 39
        used.update(rows)
    assert used == set(range(40))


def test_batch_as_large_as_the_set_is_the_whole_set() -> None:
    batches = ImageBatches(images=IMAGES, seed=0, batch_size=40)
    assert sorted(_rows(batches.batch(0)[0])) == list(range(40))


def test_images_are_chosen_evenly() -> None:
    batches = ImageBatches(images=IMAGES, seed=1, batch_size=4)
    counts = np.zeros(40)
    for index in range(1000):
        counts[_rows(batches.batch(index)[0])] += 1
    # 100 times each; six standard deviations of the binomial.
    assert np.abs(counts - 100).max() < 6 * (1000 * 0.1 * 0.9) ** 0.5


def test_true_labels_are_those_of_the_images() -> None:
    images, labels = BATCHES["true"].batch(2)
    assert labels.tolist() == IMAGES.labels[_rows(images)].tolist()


def test_permuted_labels_are_a_permutation_of_the_true_ones_on_the_same_images() -> None:
    moved = 0
    for index in range(20):
        images, true = BATCHES["true"].batch(index)
        same_images, permuted = BATCHES["permuted"].batch(index)
        assert torch.equal(images, same_images)
        assert sorted(true.tolist()) == sorted(permuted.tolist())
        moved += not torch.equal(true, permuted)
    assert moved > 15


def test_random_labels_are_uniform_and_leave_the_images_alone() -> None:
    assert torch.equal(BATCHES["random-labels"].batch(3)[0], BATCHES["true"].batch(3)[0])
    batches = ImageBatches(images=IMAGES, seed=0, batch_size=40, labels="random")
    counts = sum(torch.bincount(batches.batch(i)[1], minlength=4) for i in range(50))
    assert isinstance(counts, torch.Tensor)
    assert (counts - 500).abs().max() < 6 * (2000 * 0.25 * 0.75) ** 0.5


def test_pixels_are_normalised_as_torchvision_does_bit_for_bit() -> None:
    recipe = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize(IMAGES.mean.tolist(), IMAGES.std.tolist()),
        ]
    )
    expected = torch.stack([recipe(image.transpose(1, 2, 0).copy()) for image in IMAGES.images])
    normal = torch.from_numpy(normalise(IMAGES.images, IMAGES.mean, IMAGES.std))
    assert torch.equal(normal, expected)
    channels = normal.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        channels.std(1, correction=0), torch.ones(3).double(), atol=1e-6, rtol=0
    )


def _torchvision_crops(image: torch.Tensor) -> dict[bytes, tuple[int, int, bool]]:
    """Every crop of an image that the recipe can give -> (top, left, flipped)."""
    padded = functional.pad(image, [4], fill=0)
    crops: dict[bytes, tuple[int, int, bool]] = {}
    for top in range(9):
        for left in range(9):
            crop = functional.crop(padded, top, left, 8, 8)
            crops[crop.numpy().tobytes()] = (top, left, False)
            crops[functional.hflip(crop).numpy().tobytes()] = (top, left, True)
    return crops


def test_crop_flip_gives_the_crops_that_torchvision_can_give() -> None:
    pixels = IMAGES.images[:12]
    crops = [_torchvision_crops(torch.from_numpy(image.copy())) for image in pixels]
    seen: set[tuple[int, int, bool]] = set()
    for seed in range(60):
        results = crop_flip(pixels, np.random.default_rng(seed))
        seen.update(
            of_image[result.tobytes()] for of_image, result in zip(crops, results, strict=True)
        )
    # 162 crops and 720 draws: about 160 are expected to occur.
    assert len(seen) > 150
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))


def test_flips_are_fair() -> None:
    images = np.zeros((4000, 3, 9, 9), dtype=np.uint8)
    images[:, :, 4, :] = np.arange(1, 10)
    cropped = crop_flip(images, np.random.default_rng(0))
    row = cropped.max(axis=(1, 2)).astype(int)
    flipped = np.array([np.diff(line[line > 0]).mean() < 0 for line in row])
    assert abs(flipped.mean() - 0.5) < 6 * 0.5 / 4000**0.5


def test_augmentation_keeps_images_and_labels_of_the_batch() -> None:
    batches = ImageBatches(images=IMAGES, seed=3, batch_size=6, augment="crop-flip")
    images, labels = batches.batch(5)
    plain, true = BATCHES["true"].batch(5)
    assert torch.equal(labels, true)
    assert not torch.equal(images, plain)


def test_crops_and_flips_vary_with_index_and_seed() -> None:
    same = np.repeat(IMAGES.images[:1], 6, axis=0)
    data = make_image_set(same, np.zeros(6, dtype=np.int64), num_classes=2, source="one image")
    batches = ImageBatches(images=data, seed=0, batch_size=6, augment="crop-flip")
    seen = [batches.batch(index)[0] for index in range(5)]
    seen.append(replace(batches, seed=1).batch(0)[0])
    assert len({images.numpy().tobytes() for images in seen}) == 6


def test_padding_is_black_not_the_mean() -> None:
    white = np.full((50, 3, 8, 8), 255, dtype=np.uint8)
    cropped = crop_flip(white, np.random.default_rng(0))
    assert set(np.unique(cropped)) == {0, 255}


def test_images_in_shared_memory_give_the_same_batches() -> None:
    """As Ray hands them out: unpickled around buffers that may not be written to."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(IMAGES, protocol=5, buffer_callback=buffers.append)
    shared: ImageSet = pickle.loads(text, buffers=[bytes(buffer) for buffer in buffers])
    assert not shared.images.flags.writeable
    for kind in ("true", "random-labels", "permuted", "crop-flip"):
        kept: Any = BATCHES[kind]
        images, labels = replace(kept, images=shared).batch(1)
        assert torch.equal(images, kept.batch(1)[0])
        assert torch.equal(labels, kept.batch(1)[1])


def test_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"^batch_size is 41 and test images has 40 images; use a batch size of at most 40$",
    ):
        ImageBatches(images=IMAGES, seed=0, batch_size=41)


def test_batches_are_pinned() -> None:
    """Records of a seed mean these numbers: a change here makes stored runs wrong."""
    images, labels = BATCHES["random"].batch(5)
    assert images[0, 0, 0, :3].tolist() == pytest.approx([-0.6757, 0.3418, -0.6140], abs=1e-4)
    assert labels.tolist() == [2, 3, 2, 0, 2, 3]
    images, labels = BATCHES["true"].batch(5)
    assert _rows(images) == [24, 26, 17, 19, 11, 6]
    assert labels.tolist() == [0, 2, 1, 3, 3, 2]
    assert BATCHES["permuted"].batch(5)[1].tolist() == [2, 3, 2, 3, 0, 1]
    assert BATCHES["random-labels"].batch(5)[1].tolist() == [2, 3, 2, 0, 2, 3]
    cropped = crop_flip(IMAGES.images[:6], generator(3, "augmentation", 5))
    assert cropped[:, 0, 4, 4].tolist() == [33, 0, 0, 247, 27, 181]
