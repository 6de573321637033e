"""Orders of epochs: permutations of (seed, epoch), cut so that every image has one rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.data.order import Shard, epoch_order, num_batches, share


def shard(rank: int, world_size: int, batch_size: int, micro: int) -> Shard:
    return Shard(
        seed=0, rank=rank, world_size=world_size, batch_size=batch_size, micro_batch_size=micro
    )


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
    world_size=st.integers(1, 4),
    num_micro=st.integers(4, 7),
    micro=st.integers(1, 3),
    data=st.data(),
)
def test_a_batch_has_the_same_micro_batches_on_any_number_of_ranks(
    num_images: int, world_size: int, num_micro: int, micro: int, data: st.DataObject
) -> None:
    order = epoch_order(num_images, 1, 0)
    total = num_batches(num_images, num_micro * micro)
    start = data.draw(st.integers(0, total))
    found: dict[tuple[int, int], list[int]] = {}
    for rank in range(world_size):
        part = shard(rank, world_size, num_micro * micro, micro)
        mine = part.micro_batches
        assert len(mine) in (num_micro // world_size, -(-num_micro // world_size))
        places = [(batch, number) for batch in range(start, total) for number in mine]
        read = part.read(order, start)
        assert read.shape == (len(places), micro)
        found |= dict(zip(places, read.tolist(), strict=True))
    together = [images for _, images in sorted(found.items())]
    wanted = order[start * num_micro * micro : total * num_micro * micro]
    assert together == wanted.reshape(-1, micro).tolist()


@given(num_images=st.integers(0, 40), world_size=st.integers(1, 9))
def test_every_image_is_tested_by_exactly_one_rank(num_images: int, world_size: int) -> None:
    shares = [share(num_images, rank, world_size) for rank in range(world_size)]
    assert [image for found in shares for image in found] == list(range(num_images))
    lengths = [len(found) for found in shares]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 2, 4, 2), r"^rank is 2; it must be in \[0, 2\)"),
        ((0, 3, 4, 2), r"^a batch has 2 micro-batches; it must have one for each of 3 ranks"),
        ((0, 1, 4, 3), r"^batch_size is 4; it must be a multiple of micro_batch_size, 3"),
        ((0, 1, 4, 0), r"^batch_size is 4; it must be"),
        ((0, 1, 0, 1), r"^a batch has 0 micro-batches; it must have one"),
    ],
)
def test_numbers_that_do_not_fit(arguments: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shard(*arguments)


def test_a_start_beyond_the_epoch() -> None:
    with pytest.raises(ValueError, match=r"^start is 3; it must be in \[0, 2\]"):
        shard(0, 1, 4, 2).read(epoch_order(10, 0, 0), 3)
