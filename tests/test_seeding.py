from __future__ import annotations

from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.seeding import Stream, generator, torch_seed
from tests.strategies import SEEDS

STREAMS: tuple[Stream, ...] = get_args(Stream)
NUM_DRAWS = 10_000


@pytest.mark.parametrize(
    ("seed", "stream", "index", "raw", "seed_of_torch", "gumbel", "normal"),
    [
        (0, "weights", 0, 10424841047235941500, 5212420523617970750, 0.183067190970, 0.025979817),
        (0, "batch", 0, 17438012079374151748, 8719006039687075874, -1.066844249429, 0.54551762),
        (0, "labels", 7, 15144086186324552093, 7572043093162276046, -0.542417494173, -0.54195732),
        (1, "gumbel", 3, 606003179581927897, 303001589790963948, 3.399102805391, -0.82339305),
        (
            12345,
            "augmentation",
            99,
            4333537979548887108,
            2166768989774443554,
            1.31760103,
            0.08651192,
        ),
    ],
)
def test_streams_are_what_they_have_always_been(
    seed: int,
    stream: Stream,
    index: int,
    raw: int,
    seed_of_torch: int,
    gumbel: float,
    normal: float,
) -> None:
    # Stored records mean these numbers: a change here makes every record one of something else.
    assert generator(seed, stream, index).bit_generator.random_raw() == raw
    assert torch_seed(seed, stream, index) == seed_of_torch
    assert generator(seed, stream, index).gumbel() == pytest.approx(gumbel, rel=1e-8)
    drawn = generator(seed, stream, index).standard_normal(dtype=np.float32)
    assert float(drawn) == pytest.approx(normal, rel=1e-6)


@given(seed=SEEDS, stream=st.sampled_from(STREAMS), index=st.integers(0, 2**31))
def test_a_generator_depends_on_seed_stream_and_index_alone(
    seed: int, stream: Stream, index: int
) -> None:
    first = generator(seed, stream, index)
    first.normal(size=3)
    np.testing.assert_array_equal(
        generator(seed, stream, index).normal(size=5), generator(seed, stream, index).normal(size=5)
    )
    assert 0 <= torch_seed(seed, stream, index) < 2**63
    assert torch_seed(seed, stream, index) == torch_seed(seed, stream, index)


def test_index_is_zero_unless_given() -> None:
    assert torch_seed(4, "weights") == torch_seed(4, "weights", 0)


def test_no_two_streams_are_alike() -> None:
    drawn = {
        torch_seed(seed, stream, index)
        for seed in range(10)
        for stream in STREAMS
        for index in range(50)
    }
    assert len(drawn) == 10 * len(STREAMS) * 50


def test_streams_seeds_and_indices_are_uncorrelated() -> None:
    places: list[tuple[int, Stream, int]] = [(0, stream, 0) for stream in STREAMS]
    places += [(1, "batch", 0), (0, "batch", 1), (1, "batch", 1)]
    draws = [generator(*place).normal(size=NUM_DRAWS) for place in places]
    for one, other in combinations(draws, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(NUM_DRAWS)


def test_first_numbers_of_consecutive_indices_are_uniform() -> None:
    first = [generator(0, "gumbel", t).uniform() for t in range(2000)]
    counts = np.histogram(first, bins=10, range=(0, 1))[0]
    # Chi-square with 9 degrees of freedom: mean 9, standard deviation √18.
    assert ((counts - 200) ** 2 / 200).sum() < 9 + 5 * np.sqrt(18)


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        generator(seed, "batch", index)
