"""make_batches and resolve_labels: from settings to batches, and settings that contradict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nasi_ray.config import SampleConfig
from nasi_ray.data.batches import ImageBatches, RandomBatches, make_batches
from nasi_ray.data.labels import resolve_labels
from nasi_ray.errors import ConfigError
from tests.data.encoded import image_set

IMAGES = image_set()


@pytest.mark.parametrize(
    ("labels", "data", "expected"),
    [
        ("auto", "random", "random"),
        ("random", "random", "random"),
        ("auto", "CIFAR10", "true"),
        ("true", "CIFAR10", "true"),
        ("random", "CIFAR10", "random"),
        ("permuted", "some/path", "permuted"),
    ],
)
def test_labels_are_resolved(labels: Any, data: str, expected: str) -> None:
    assert resolve_labels(labels, data) == expected


@pytest.mark.parametrize("labels", ["true", "permuted"])
def test_random_data_have_no_true_labels(labels: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"^labels is '{labels}' and data is 'random', which has no labels; use"
    ):
        make_batches(SampleConfig(labels=labels), None)


def test_factory_follows_the_settings() -> None:
    random = make_batches(SampleConfig(seed=9, batch_size=5, image_size=16, num_classes=7), None)
    assert random == RandomBatches(seed=9, batch_size=5, image_size=16, num_classes=7)
    config = SampleConfig(
        data="some/path",
        seed=9,
        batch_size=5,
        image_size=8,
        labels="permuted",
        augment="crop-flip",
        num_classes=7,
    )
    batches = make_batches(config, IMAGES)
    assert isinstance(batches, ImageBatches)
    assert (batches.seed, batches.batch_size) == (9, 5)
    assert (batches.labels, batches.augment) == ("permuted", "crop-flip")
    assert batches.num_classes == 4
    auto = make_batches(replace(config, labels="auto", augment="none"), IMAGES)
    assert isinstance(auto, ImageBatches)
    assert (auto.labels, auto.augment) == ("true", "none")


def test_factory_refuses_what_does_not_fit_together() -> None:
    with pytest.raises(
        ConfigError, match=r"^augment is 'crop-flip' and data is 'random', where it"
    ):
        make_batches(SampleConfig(augment="crop-flip"), None)
    with pytest.raises(ValueError, match="data is 'random' but images were given"):
        make_batches(SampleConfig(), IMAGES)
    with pytest.raises(ValueError, match="data is 'CIFAR10' but images were not given"):
        make_batches(SampleConfig(data="CIFAR10"), None)
    with pytest.raises(ValueError, match="images are of size 8, not 32"):
        make_batches(SampleConfig(data="CIFAR10"), IMAGES)
