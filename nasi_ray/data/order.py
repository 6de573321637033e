"""The order of the images of an epoch, and what each rank reads of it. Pure functions of numbers.

The order depends on (seed, epoch) alone: not on the number of ranks, nor on where a run stopped.
So a run goes on at the exact batch, also on another number of ranks.
"""

from __future__ import annotations

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.seeding import generator

WINDOW = 16
"""Blocks that are shuffled together."""


def epoch_order(
    num_images: int, seed: int, epoch: int, *, blocks: IntArray | None = None, window: int = WINDOW
) -> IntArray:
    """Every image once, in random order.

    Args:
        num_images: Images n of the set (≥ 1).
        seed: Root seed of the training (≥ 0).
        epoch: From 0.
        blocks: ``LazyImages.blocks``: where each block of images that is read as a whole ends. The
            blocks are shuffled, and then the images of every ``window`` blocks in a row, so that
            few blocks are in memory at a time. None: all images are shuffled together.
        window: Blocks that are shuffled together (≥ 1).

    Returns:
        shape (n,), a permutation of 0 to n - 1
    """
    rng = generator(seed, "order", epoch)
    if blocks is None:
        return rng.permutation(num_images)
    starts = np.concatenate([[0], blocks[:-1]])
    order = rng.permutation(len(blocks))
    parts = []
    for first in range(0, len(blocks), window):
        chosen = order[first : first + window]
        images = np.concatenate([np.arange(starts[b], blocks[b]) for b in chosen])
        parts.append(rng.permutation(images))
    return np.concatenate(parts)


def num_batches(num_images: int, batch_size: int) -> int:
    """Whole batches of an epoch; the images that are left over differ from epoch to epoch."""
    return num_images // batch_size


def shard(
    order: IntArray, rank: int, world_size: int, batch_size: int, *, start: int = 0
) -> IntArray:
    """What one rank reads for training, batch after batch.

    Batch k of all ranks together is ``order[k * B : (k + 1) * B]`` on any number of ranks, and
    each rank has B / world_size images of it.

    Args:
        order: ``epoch_order``.
        rank: In [0, world_size).
        world_size: Number of ranks; divides B.
        batch_size: Images B of a batch, of all ranks together.
        start: The first batch; that of a run that goes on.

    Returns:
        shape (batches - start, B / world_size); the images after the last whole batch are left out

    Raises:
        ValueError: If the numbers do not fit together.
    """
    _check_rank(rank, world_size)
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"batch_size is {batch_size}; it must be a multiple of {world_size} ranks")
    total = num_batches(len(order), batch_size)
    if not 0 <= start <= total:
        raise ValueError(f"start is {start}; it must be in [0, {total}]")
    images = order[start * batch_size : total * batch_size]
    batches = images.reshape(total - start, world_size, batch_size // world_size)
    return np.ascontiguousarray(batches[:, rank])


def evaluation_shard(num_images: int, rank: int, world_size: int) -> IntArray:
    """The images that one rank tests: every image has exactly one rank, none is repeated.

    Args:
        num_images: Images n of the set.
        rank: In [0, world_size).
        world_size: Number of ranks.

    Returns:
        A range of 0 to n - 1; the ranges of two ranks differ in length by at most 1.
    """
    _check_rank(rank, world_size)
    ends = [num_images * number // world_size for number in (rank, rank + 1)]
    return np.arange(*ends)


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}; it must be in [0, {world_size})")
