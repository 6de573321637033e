"""The images of a training: read by the driver, and sent to the workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.data.image_set import ImageSet, make_image_set
from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.load import load_images
from nasi_ray.data.open import open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.order import share
from nasi_ray.errors import ConfigError, DataError
from nasi_ray.seeding import generator
from nasi_ray.training.recipes import TrainingConfig
from nasi_ray.training.settings import DataConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP_SHARE = 0.875
"""Side of the part of a test image that is looked at."""
_NUM_RANDOM = {"train": 2_048, "test": 512}
_NUM_RANDOM_CLASSES = 10
_PATTERN = 4
_TEST_SPLITS = ("test", "validation")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainImages:
    """What to train and to test on; both sets are of one kind."""

    train: ImageSet | LazyImages
    test: ImageSet | LazyImages
    chosen: IntArray | None
    """Training images to use, ascending; None: all."""
    held: IntArray | None = None
    """Images of ``test`` to test on, ascending; None: all."""
    test_split: str = "test"
    """Split of ``test``, of which nothing is held out."""

    @property
    def num_train(self) -> int:
        """Training images that are used."""
        return len(self.train) if self.chosen is None else len(self.chosen)

    @property
    def num_test(self) -> int:
        """Images that are tested on."""
        return len(self.test) if self.held is None else len(self.held)

    def tested(self, rank: int, world_size: int) -> IntArray:
        """The images of ``test`` that a rank tests on."""
        mine = np.array(share(self.num_test, rank, world_size), dtype=np.int64)
        return mine if self.held is None else self.held[mine]

    @property
    def num_classes(self) -> int:
        """Classes of both sets."""
        return self.train.num_classes

    @property
    def statistics(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation of each channel: the data set's, or ImageNet's."""
        if not isinstance(self.train, ImageSet):
            return IMAGENET_MEAN, IMAGENET_STD
        mean, std = (tuple(map(float, x)) for x in (self.train.mean, self.train.std))
        return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels; empty if they are not known."""
        return getattr(self.train, "class_names", ())

    @property
    def identity(self) -> dict[str, str]:
        """The content of both sets."""
        return {"data": _identity(self.train), "test_data": _identity(self.test)}


def load_train_images(config: DataConfig, training: TrainingConfig) -> TrainImages:
    """Read or open both sets.

    Args:
        config: Where they are.
        training: Size of the images, and how many to train on.

    Raises:
        NasiRayError: If they are missing or broken, or do not go together.
    """
    train: ImageSet | LazyImages
    test: ImageSet | LazyImages
    if config.data == "random":
        train = random_images(training.image_size, "train")
    else:
        train = _load(config.data, config.options(config.split), training)
    if training.holdout:
        return _held_out(train, training)
    if config.data == "random":
        test, test_split = random_images(training.image_size, "test"), "test"
    else:
        test, test_split = _load_test(config, training)
    if train.num_classes != test.num_classes:
        raise DataError(
            f"the training images have {train.num_classes} classes and the test images "
            f"{test.num_classes}; name the test images with --test-data and --test-split"
        )
    chosen = None
    if training.num_train_images is not None and training.num_train_images < len(train):
        chosen = chosen_images(len(train), training.num_train_images)
    return TrainImages(train=train, test=test, chosen=chosen, test_split=test_split)


def _held_out(images: ImageSet | LazyImages, training: TrainingConfig) -> TrainImages:
    """Train on some images of a set, and test on others."""
    order, num = (
        generator(0, "step", 1).permutation(len(images)),
        round(training.holdout * len(images)),
    )
    held, rest = np.sort(order[:num]), np.sort(order[num:])
    if not len(held) or not len(rest):
        raise DataError(
            f"holdout is {training.holdout:g}: of {len(images)} training images, {len(rest)} are "
            f"left to train on and {len(held)} to test on; both need at least one, so give another "
            "share"
        )
    if training.num_train_images is not None and training.num_train_images < len(rest):
        rest = rest[chosen_images(len(rest), training.num_train_images)]
    return TrainImages(train=images, test=images, chosen=rest, held=held)


def chosen_images(num_images: int, num_chosen: int) -> IntArray:
    """Some images of a set, ascending; a larger choice holds all of a smaller one."""
    order = generator(0, "step", 0).permutation(num_images)
    return np.sort(order[:num_chosen])


def random_images(size: int, split: str) -> ImageSet:
    """Made-up images, to try a training without a data set.

    Each of 10 classes has a pattern of 4 × 4 random colours, equal in both splits, under noise of
    the same strength.

    Args:
        size: Height and width in pixels.
        split: ``train`` (2,048 images) or ``test`` (512).
    """
    patterns = generator(0, "batch", 0).integers(
        256, size=(_NUM_RANDOM_CLASSES, 3, _PATTERN, _PATTERN)
    )
    positions = np.arange(size) * _PATTERN // size
    large = patterns[:, :, positions][..., positions]
    rng = generator(0, "batch", 1 + (split == "test"))
    labels = rng.integers(_NUM_RANDOM_CLASSES, size=_NUM_RANDOM[split])
    noise = rng.integers(256, size=(len(labels), 3, size, size))
    pixels = ((large[labels] + noise) // 2).astype(np.uint8)
    return make_image_set(
        pixels, labels.astype(np.int64), num_classes=_NUM_RANDOM_CLASSES, source="random"
    )


def _load_test(config: DataConfig, training: TrainingConfig) -> tuple[ImageSet | LazyImages, str]:
    """The test images, and what their split is called."""
    source = config.test_data or config.data
    if config.test_split != "auto":
        options = config.options(config.test_split)
        return _load(source, options, training), config.test_split
    reasons = []
    for split in _TEST_SPLITS:
        try:
            return _load(source, config.options(split), training), split
        except (DataError, ConfigError) as error:
            reasons.append(str(error))
    if config.test_data:
        return _load(source, config.options(config.split), training), _TEST_SPLITS[0]
    raise DataError(f"no test images: {reasons[0]}; name them with --test-split, or --test-data")


def _load(source: str, options: ReadOptions, training: TrainingConfig) -> ImageSet | LazyImages:
    if training.augment == "resized-crop":
        return open_images(source, options, image_size=round(training.image_size / CROP_SHARE))
    return load_images(source, options, image_size=training.image_size)


def _identity(images: ImageSet | LazyImages) -> str:
    kind = "sha256" if isinstance(images, ImageSet) else "files"
    return f"{kind}:{images.digest[:16]} of {len(images)} images"
