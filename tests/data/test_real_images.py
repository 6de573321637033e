"""The real data sets where they are at hand: CIFAR-10 and a sample of ImageNet as Parquet."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nasi_ray.data.batches import ImageBatches
from nasi_ray.data.load import load_images
from nasi_ray.data.options import ReadOptions

DATA = Path(os.environ.get("NASI_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def _path(name: str) -> str:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not there; set NASI_DATA to the directory that holds {name}")
    return str(DATA / name)


@pytest.mark.slow
def test_cifar10_has_its_known_counts_and_statistics() -> None:
    data = load_images(_path("cifar10"), image_size=32)
    assert data.images.shape == (50_000, 3, 32, 32)
    assert data.num_classes == 10
    assert np.bincount(data.labels).tolist() == [5_000] * 10
    np.testing.assert_allclose(data.mean, [0.4913, 0.4821, 0.4465], atol=1e-4)
    np.testing.assert_allclose(data.std, [0.2452, 0.2428, 0.2606], atol=1e-4)
    images, labels = ImageBatches(images=data, seed=0, batch_size=64).batch(0)
    assert images.shape == (64, 3, 32, 32)
    assert len(set(labels.tolist())) > 5


def test_cifar10_test_split_is_another() -> None:
    data = load_images(_path("cifar10"), options=ReadOptions(split="test"), image_size=32)
    assert np.bincount(data.labels).tolist() == [1_000] * 10


def test_imagenet_sample_is_fitted_to_the_size_asked() -> None:
    data = load_images(_path("imagenet-sample"), image_size=32)
    assert data.images.shape == (1_000, 3, 32, 32)
    assert data.num_classes == 1_000
    assert data.labels.tolist() == list(range(1_000))
