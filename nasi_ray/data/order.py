"""The order of the images of an epoch, and what each rank reads of it. Pure functions of numbers.

The order depends on (seed, epoch) alone: not on the number of ranks, nor on where a run stopped.
So a run goes on at the exact batch, also on another number of ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Which part of every batch one rank reads.

    Raises:
        ValueError: If the numbers do not fit together.
    """

    seed: int
    """Root seed of the training (≥ 0)."""
    rank: int
    """In [0, world_size)."""
    world_size: int
    """Number of ranks, at most that of micro-batches."""
    batch_size: int
    """Images B of a batch, of all ranks together."""
    micro_batch_size: int
    """Images m of a micro-batch; divides B."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank is {self.rank}; it must be in [0, {self.world_size})")
        if self.micro_batch_size < 1 or self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be a multiple of micro_batch_size, "
                f"{self.micro_batch_size}"
            )
        if self.num_micro_batches < self.world_size:
            raise ValueError(
                f"a batch has {self.num_micro_batches} micro-batches; it must have one for each of "
                f"{self.world_size} ranks"
            )

    @property
    def num_micro_batches(self) -> int:
        """Of a batch, on all ranks together."""
        return self.batch_size // self.micro_batch_size

    @property
    def micro_batches(self) -> range:
        """Those of every batch that this rank reads; ranks differ by at most one in how many."""
        return share(self.num_micro_batches, self.rank, self.world_size)

    def read(self, order: IntArray, start: int) -> IntArray:
        """What this rank reads of an epoch, micro-batch after micro-batch.

        Batch k of all ranks together is ``order[k * B : (k + 1) * B]``, and its micro-batches are
        the same, on any number of ranks.

        Args:
            order: ``epoch_order``.
            start: The first batch; that of a run that goes on.

        Returns:
            shape (micro-batches, m); the images after the last whole batch are left out

        Raises:
            ValueError: If there is no batch ``start``, nor does the epoch end there.
        """
        total = num_batches(len(order), self.batch_size)
        if not 0 <= start <= total:
            raise ValueError(f"start is {start}; it must be in [0, {total}]")
        images = order[start * self.batch_size : total * self.batch_size]
        batches = images.reshape(total - start, self.num_micro_batches, self.micro_batch_size)
        mine = self.micro_batches
        return batches[:, mine.start : mine.stop].reshape(-1, self.micro_batch_size)


def share(count: int, rank: int, world_size: int) -> range:
    """What one rank has of ``count`` things: each has one rank, and ranks differ by at most one."""
    return range(count * rank // world_size, count * (rank + 1) // world_size)
