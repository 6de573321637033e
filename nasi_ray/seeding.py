"""Random streams: (root seed, stream, index) -> generator, the same on every worker and device.

All randomness of a search is drawn on the CPU from these generators, so a sample depends on its
index alone and never on the worker, the device or the order of evaluation.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Stream = Literal[
    "weights", "batch", "labels", "gumbel", "augmentation", "projection", "rao", "order"
]

# Part of what a record means: never renumber.
_STREAM_KEYS: dict[Stream, int] = {
    "weights": 0,
    "batch": 1,
    "labels": 2,
    "gumbel": 3,
    "augmentation": 4,
    "projection": 5,
    "rao": 6,
    "order": 7,
}


def generator(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """Make the generator of one stream.

    Args:
        seed: Root seed of the search (≥ 0).
        stream: What the numbers are for; streams of one seed are independent.
        index: Sample index t (≥ 0); streams of different indices are independent.

    Returns:
        A fresh PCG64 generator seeded with ``SeedSequence(seed, spawn_key=(stream, index))``.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAM_KEYS[stream], index))
    return np.random.Generator(np.random.PCG64(sequence))


def torch_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """Draw a 63-bit seed for a ``torch.Generator`` from the same streams.

    Args:
        seed: Root seed of the search (≥ 0).
        stream: What the numbers are for.
        index: Sample index (≥ 0).

    Returns:
        An integer in [0, 2⁶³).
    """
    return int(generator(seed, stream, index).integers(0, 2**63, dtype=np.int64))
