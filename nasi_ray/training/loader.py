"""Batches of one rank: which images, in which order, and how they are augmented.

Order and augmentation depend on (seed, epoch, image) alone: not on the number of ranks or loader
processes, nor on where a run stopped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nasi_ray.arrays import IntArray
from nasi_ray.data.batches import crop_and_flip, normalise
from nasi_ray.data.image_set import ImageSet
from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.order import Shard, epoch_order
from nasi_ray.display.formats import one_line
from nasi_ray.errors import ConfigError
from nasi_ray.seeding import generator, torch_seed
from nasi_ray.training.images import CROP_SHARE, IMAGENET_MEAN, IMAGENET_STD, TrainImages
from nasi_ray.training.recipes import TrainingConfig

Batch = tuple[Tensor, Tensor]
TEST_BATCH = 256
_Key = tuple[int, int]
"""Epoch and image; epoch -1: a test image."""


class Loader(Protocol):
    """Reads the images of one rank."""

    def train(self, epoch: int, start: int) -> Iterator[Batch]:
        """Micro-batches of an epoch, in order.

        Args:
            epoch: From 0.
            start: First step.

        Returns:
            Images, float32, shape (micro batch, 3, S, S), and labels, shape (micro batch,).
        """

    def test(self) -> Iterator[Batch]:
        """This rank's test images, each exactly once."""


def make_loader(
    images: TrainImages, config: TrainingConfig, part: Shard, *, processes: int, prefetch: bool
) -> Loader:
    """The loader that suits the images.

    Args:
        images: Both sets.
        config: How to augment.
        part: What is read here.
        processes: That decode images, if they are not in memory.
        prefetch: Whether to make the next batch meanwhile, where images are in memory.
    """
    if isinstance(images.train, ImageSet) and isinstance(images.test, ImageSet):
        return ArrayLoader(images, config, part, prefetch=prefetch)
    return FileLoader(images, config, part, processes=processes)


class ArrayLoader:
    """Images in memory, a batch at a time: crop, flip, normalise, cut out."""

    def __init__(
        self, images: TrainImages, config: TrainingConfig, part: Shard, *, prefetch: bool
    ) -> None:
        assert isinstance(images.train, ImageSet)
        assert isinstance(images.test, ImageSet)
        self._train, self._test, self._chosen = images.train, images.test, images.chosen
        self._images, self._num_train = images, images.num_train
        self._config, self._part, self._prefetch = config, part, prefetch

    def train(self, epoch: int, start: int) -> Iterator[Batch]:
        """See ``Loader``."""
        part, images = self._part, self._train
        order = epoch_order(self._num_train, part.seed, epoch)
        draws = None
        if self._config.augment == "crop-flip":
            draws = _Draws.of_epoch(self._config, self._num_train, epoch)

        def batch(rows: IntArray) -> Batch:
            chosen = rows if self._chosen is None else self._chosen[rows]
            pixels = images.images[chosen]
            if draws is not None:
                pixels = crop_and_flip(
                    pixels, draws.offsets[:, rows], draws.flips[rows], draws.padding
                )
            x = normalise(pixels, images.mean, images.std)
            if draws is not None and self._config.cutout:
                cut_out(x, draws.holes[:, rows], self._config.cutout)
            return torch.from_numpy(x), torch.from_numpy(images.labels[chosen])

        micros = part.read(order, start)
        return _prefetched(batch, micros) if self._prefetch else map(batch, micros)

    def test(self) -> Iterator[Batch]:
        """See ``Loader``."""
        mine = self._images.tested(self._part.rank, self._part.world_size)
        for first in range(0, len(mine), TEST_BATCH):
            rows = mine[first : first + TEST_BATCH]
            # Normalised as the training images are.
            x = normalise(self._test.images[rows], self._train.mean, self._train.std)
            yield torch.from_numpy(x), torch.from_numpy(self._test.labels[rows])


@dataclass(frozen=True, slots=True)
class _Draws:
    """Random numbers of an epoch: column i is image i's."""

    offsets: IntArray
    flips: IntArray
    holes: IntArray
    padding: int

    @classmethod
    def of_epoch(cls, config: TrainingConfig, num_images: int, epoch: int) -> _Draws:
        rng, padding = generator(config.seed, "augmentation", epoch), config.image_size // 8
        return cls(
            offsets=rng.integers(2 * padding + 1, size=(2, num_images)),
            flips=rng.integers(2, size=num_images),
            holes=rng.integers(config.image_size, size=(2, num_images)),
            padding=padding,
        )


def cut_out(images: Any, centres: IntArray, side: int) -> None:
    """Set a square of each image to zero, in place; it may reach over the border (DeVries 2017).

    Args:
        images: Normalised, shape (batch, 3, S, S).
        centres: Row and column, shape (2, batch).
        side: In pixels.
    """
    span = np.arange(images.shape[-1])
    low, high = centres - side // 2, centres - side // 2 + side
    is_in = (span >= low[..., None]) & (span < high[..., None])
    images *= ~(is_in[0][:, None, :, None] & is_in[1][:, None, None, :])


class FileLoader:
    """Images that are decoded and augmented by timm's transforms when they are needed."""

    def __init__(
        self, images: TrainImages, config: TrainingConfig, part: Shard, *, processes: int
    ) -> None:
        assert isinstance(images.train, LazyImages)
        self._images, self._part = images, part
        self._blocks = images.train.blocks if images.chosen is None else None
        self._keys: list[list[_Key]] = []
        self._loader: Any = DataLoader(
            _Augmented(images, config),
            batch_sampler=_Sampler(self),
            num_workers=processes,
            multiprocessing_context="forkserver" if processes else None,
            persistent_workers=processes > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train(self, epoch: int, start: int) -> Iterator[Batch]:
        """See ``Loader``."""
        images, seed = self._images, self._part.seed
        order = epoch_order(images.num_train, seed, epoch, blocks=self._blocks)
        if images.chosen is not None:
            order = images.chosen[order]
        micros = self._part.read(order, start)
        self._keys = [[(epoch, int(i)) for i in rows] for rows in micros]
        return iter(self._loader)

    def test(self) -> Iterator[Batch]:
        """See ``Loader``."""
        mine = self._images.tested(self._part.rank, self._part.world_size)
        starts = range(0, len(mine), TEST_BATCH)
        self._keys = [[(-1, int(i)) for i in mine[a : a + TEST_BATCH]] for a in starts]
        return iter(self._loader)


class _Sampler:
    """The batches of the pass that begins."""

    def __init__(self, owner: FileLoader) -> None:
        self._owner = owner

    def __iter__(self) -> Iterator[list[_Key]]:
        return iter(self._owner._keys)

    def __len__(self) -> int:
        return len(self._owner._keys)


class _Augmented(Dataset[tuple[Tensor, int]]):
    """Image by key; the same in any process."""

    def __init__(self, images: TrainImages, config: TrainingConfig) -> None:
        assert not isinstance(images.train, ImageSet)
        assert not isinstance(images.test, ImageSet)
        self._sets: tuple[LazyImages, LazyImages] = (images.train, images.test)
        self._seed = config.seed
        self._transforms = make_transforms(config)

    def __getitem__(self, key: _Key) -> tuple[Tensor, int]:
        epoch, index = key
        images = self._sets[epoch < 0]
        if epoch >= 0:
            _seed_all(torch_seed(self._seed, "augmentation", (epoch << 40) + index))
        x: Tensor = self._transforms[epoch < 0](images.image(index))
        return x, int(images.labels[index])


def make_transforms(config: TrainingConfig) -> tuple[Any, Any]:
    """Make timm's transforms of an image for training, and for testing."""
    from timm.data.transforms_factory import create_transform  # takes a second to import

    common: dict[str, Any] = {
        "input_size": config.image_size,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    color_jitter: Any = config.color_jitter or None
    train = create_transform(
        **common,
        is_training=True,
        scale=(config.crop_scale, 1.0),
        color_jitter=color_jitter,
        auto_augment=config.auto_augment or None,
        interpolation="random" if config.auto_augment else "bilinear",
        re_prob=config.random_erasing,
        re_mode="pixel",
    )
    return train, create_transform(**common, interpolation="bilinear", crop_pct=CROP_SHARE)


def refuse_bad_transforms(config: TrainingConfig) -> None:
    """Refuse settings that timm makes no transforms of.

    Raises:
        ConfigError: If it does not.
    """
    if config.augment != "resized-crop":
        return
    try:
        make_transforms(config)
    except Exception as error:  # of another's code
        raise ConfigError(
            f"auto_augment is {config.auto_augment!r} and color_jitter {config.color_jitter}, of "
            f"which timm makes no transforms ({one_line(str(error)) or type(error).__name__}); "
            "give, for example, --auto-augment rand-m7-mstd0.5-inc1"
        ) from error


def _seed_all(seed: int) -> None:
    """Seed the generators that transforms draw from."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002, timm draws from it
    torch.manual_seed(seed)


def _prefetched(batch: Callable[[IntArray], Batch], micros: IntArray) -> Iterator[Batch]:
    """Each batch, the next one being made by another thread meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
        waiting = None
        for rows in micros:
            following = pool.submit(batch, rows)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
