"""Types of the arrays that cross module borders, and ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def average_ranks(values: npt.ArrayLike) -> FloatArray:
    """Ranks from 1; equal values share their mean rank.

    As ``scipy.stats.rankdata``, whose package takes a second to import.

    Args:
        values: shape (n,), without NaN.
    """
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return ranks


def drawn_ranks(values: FloatArray, counts: IntArray) -> FloatArray:
    """``average_ranks`` of values drawn with replacement, for many draws at once.

    Args:
        values: shape (n,), without NaN.
        counts: How often each was drawn, shape (draws, n).

    Returns:
        shape (draws, n); what is not drawn has some number
    """
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks: FloatArray = (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]
    return ranks
