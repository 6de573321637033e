"""Does e depend on labels and data? e of the same architectures in two data modes (Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.records.rows import SampleTable
from nasi_ray.study.correlation import Correlation, Pairs, correlate


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Agreement:
    """e of one data mode against e of another, architecture by architecture."""

    pearson: Correlation
    """Of e, as in the paper; a few large e decide it where e has a long tail."""
    pearson_log: Correlation
    """Of log e."""
    spearman: Correlation
    median_ratio: float
    """Median of e in the other mode over e in the first, of all seeds' pairs."""
    pairs: tuple[Pairs, ...]
    """e in the first mode and in the other, a pair of arrays per seed."""

    @property
    def num_pairs(self) -> int:
        """Architectures of all seeds together."""
        return sum(len(x) for x, _ in self.pairs)


def compare_modes(
    first: Sequence[SampleTable], other: Sequence[SampleTable], num_samples: int
) -> Agreement:
    """Compare e of two data modes.

    Records of one seed have the same θ0 and, index by index, the same architecture in every mode;
    with random labels also the same images.

    Args:
        first: Records of one mode, a table per seed.
        other: Records of the other mode, in the same order of seeds.
        num_samples: Samples with an index below this count.

    Raises:
        ValueError: If two records of a seed and index are of different architectures.
    """
    pairs = tuple(
        _paired(a.below(num_samples), b.below(num_samples))
        for a, b in zip(first, other, strict=True)
    )
    positive = [_positive(x, y) for x, y in pairs]
    ratios = np.concatenate([y / x for x, y in positive])
    return Agreement(
        pearson=correlate(pairs, "pearson"),
        pearson_log=correlate([(np.log(x), np.log(y)) for x, y in positive], "pearson"),
        spearman=correlate(pairs, "spearman"),
        median_ratio=float(np.median(ratios)) if len(ratios) else float("nan"),
        pairs=pairs,
    )


def _paired(first: SampleTable, other: SampleTable) -> Pairs:
    _, a, b = np.intersect1d(first.index, other.index, assume_unique=True, return_indices=True)
    both = first.ok[a] & other.ok[b]
    a, b = a[both], b[both]
    if not np.array_equal(first.choices[a], other.choices[b]):
        raise ValueError("records of one seed and index are of different architectures")
    return first.trace_norm[a], other.trace_norm[b]


def _positive(x: FloatArray, y: FloatArray) -> Pairs:
    both = (x > 0) & (y > 0)
    return x[both], y[both]
