"""Orders of epochs: permutations of (seed, epoch), cut so that every image has one rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.data.order import epoch_order, evaluation_shard, num_batches, shard


def test_an_order_is_a_permutation_of_seed_and_epoch_alone() -> None:
    orders = {(seed, epoch): epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)}
    for (seed, epoch), order in orders.items():
        assert sorted(order.tolist()) == list(range(50))
        np.testing.assert_array_equal(order, epoch_order(50, seed, epoch))
    assert len({tuple(order.tolist()) for order in orders.values()}) == 4


def test_an_order_is_the_same_in_every_version() -> None:
    assert epoch_order(8, 3, 5).tolist() == [7, 0, 5, 1, 6, 2, 3, 4]
    assert epoch_order(8, 3, 5, blocks=np.array([3, 4, 8]), window=2).tolist() == [
        3,
        4,
        5,
        6,
        7,
        1,
        0,
        2,
    ]


@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=12).filter(any),
    window=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_few_blocks_are_read_at_a_time(sizes: list[int], window: int, epoch: int) -> None:
    ends = np.cumsum(sizes)
    order = epoch_order(int(ends[-1]), 0, epoch, blocks=ends, window=window)
    assert sorted(order.tolist()) == list(range(int(ends[-1])))
    blocks = np.searchsorted(ends, order, side="right").tolist()
    last = {block: place for place, block in enumerate(blocks)}
    first = {block: place for place, block in reversed(list(enumerate(blocks)))}
    for place in range(len(blocks)):
        assert sum(first[b] <= place <= last[b] for b in last) <= window


@given(
    num_images=st.integers(1, 60),
    world_size=st.sampled_from([1, 2, 4]),
    per_rank=st.integers(1, 4),
    data=st.data(),
)
def test_a_batch_has_the_same_images_on_any_number_of_ranks(
    num_images: int, world_size: int, per_rank: int, data: st.DataObject
) -> None:
    batch_size = 4 * per_rank
    order = epoch_order(num_images, 1, 0)
    total = num_batches(num_images, batch_size)
    start = data.draw(st.integers(0, total))
    ranks = [shard(order, r, world_size, batch_size, start=start) for r in range(world_size)]
    together = np.concatenate(ranks, axis=1)
    assert together.shape == (total - start, batch_size)
    wanted = order[start * batch_size : total * batch_size].reshape(total - start, batch_size)
    np.testing.assert_array_equal(together, wanted)


@given(num_images=st.integers(0, 40), world_size=st.integers(1, 9))
def test_every_image_is_tested_by_exactly_one_rank(num_images: int, world_size: int) -> None:
    shards = [evaluation_shard(num_images, rank, world_size) for rank in range(world_size)]
    assert np.concatenate(shards).tolist() == list(range(num_images))
    lengths = [len(found) for found in shards]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 2, 4), r"^rank is 2; it must be in \[0, 2\)"),
        ((0, 3, 4), r"^batch_size is 4; it must be a multiple of 3 ranks"),
        ((0, 1, 0), r"^batch_size is 0; it must be"),
    ],
)
def test_numbers_that_do_not_fit(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shard(epoch_order(10, 0, 0), *arguments)


def test_a_start_beyond_the_epoch() -> None:
    with pytest.raises(ValueError, match=r"^start is 3; it must be in \[0, 2\]"):
        shard(epoch_order(10, 0, 0), 0, 1, 4, start=3)
