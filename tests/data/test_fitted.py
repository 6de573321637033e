"""Large data sets: decoded when a batch needs them, to the same pixels as if decoded before."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from nasi_ray.config import SampleConfig
from nasi_ray.data import decode as decoding
from nasi_ray.data import fitted
from nasi_ray.data.batches import ImageBatches, make_batches
from nasi_ray.data.fitted import data_identity, fit_lazily, is_read_lazily
from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.load import decode_all
from nasi_ray.data.open import open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError
from tests.data.encoded import png, write_parquet

CONFIG = SampleConfig(data="a/path", batch_size=4, image_size=8, seed=3)


@pytest.fixture
def images(tmp_path: Path) -> LazyImages:
    encoded = [png(seed, 8 + seed % 3, 10) for seed in range(12)]
    return open_images(str(write_parquet(tmp_path / "a.parquet", encoded, [0, 1, 2] * 4)))


def test_the_pixels_are_those_of_the_set_decoded_whole(images: LazyImages) -> None:
    whole, lazy = decode_all(images, image_size=8), fit_lazily(images, image_size=8)
    chosen = np.array([7, 0, 7, 11])
    np.testing.assert_array_equal(lazy.pixels(chosen), whole.images[chosen])
    np.testing.assert_array_equal(lazy.mean, whole.mean)  # of at most 1024 images, all
    np.testing.assert_array_equal(lazy.std, whole.std)
    assert (lazy.image_size, len(lazy), lazy.num_classes) == (8, 12, 3)
    for index in range(3):
        batches = [make_batches(CONFIG, of).batch(index) for of in (lazy, whole)]
        for one, other in zip(*batches, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_statistics_are_of_a_sample_that_no_seed_changes(
    images: LazyImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted, "NUM_FOR_STATISTICS", 5)
    whole, lazy = decode_all(images, image_size=8), fit_lazily(images, image_size=8)
    sample = whole.images[[0, 2, 4, 7, 9]] / 255
    np.testing.assert_allclose(lazy.mean, sample.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(lazy.std, sample.std(axis=(0, 2, 3)), rtol=1e-5)
    assert data_identity(lazy) == {
        "data": f"lazy sha256:{images.digest[:16]} of 12 images, mean and std of 5"
    }


def test_only_the_images_of_a_batch_are_decoded(
    images: LazyImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = fit_lazily(images, image_size=8)
    batches = make_batches(CONFIG, lazy)
    assert isinstance(batches, ImageBatches)
    decoded: list[str] = []
    decode = decoding.decode

    def spy(data: bytes, image_size: int, where: str) -> object:
        decoded.append(where)
        return decode(data, image_size, where)

    monkeypatch.setattr(fitted, "decode", spy)
    batches.batch(0)
    assert len(set(decoded)) == len(decoded) == 4


def test_which_data_sets_are_decoded_whole(
    images: LazyImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_read_lazily(images, image_size=8)
    assert is_read_lazily(images, image_size=12_000)  # 12 x 3 x 12000² bytes
    monkeypatch.setattr(fitted, "MAX_WHOLE_IMAGES", 11)
    assert is_read_lazily(images, image_size=8)
    whole = decode_all(images, image_size=8)
    # A run goes on as it began; records of other data are refused later.
    assert not is_read_lazily(images, image_size=8, stored=whole.identity)
    assert is_read_lazily(images, image_size=8, stored=whole.identity.replace("12", "13"))
    assert is_read_lazily(images, image_size=8, stored=fit_lazily(images, image_size=8).identity)


def test_a_run_that_skipped_images_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(0), png(1), b"broken"], [0, 1, 1])
    images = open_images(str(path), ReadOptions(skip_broken=True))
    whole = decode_all(images, image_size=8)
    assert whole.identity.endswith(" of 2 images")
    monkeypatch.setattr(fitted, "MAX_WHOLE_IMAGES", 1)
    assert not is_read_lazily(images, image_size=8, stored=whole.identity)
    assert is_read_lazily(images, image_size=8)


def test_a_worker_that_does_not_see_the_data_says_so_at_once(
    images: LazyImages, tmp_path: Path
) -> None:
    sent = pickle.loads(pickle.dumps(fit_lazily(images, image_size=8)))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(DataError, match=r"a.parquet: row 0: is not on this machine, or was delet"):
        make_batches(CONFIG, sent)
