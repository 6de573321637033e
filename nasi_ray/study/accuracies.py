"""What a table says of the sampled architectures, and of the whole space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces import TabularArchitecture, TabularSpace
from nasi_ray.spaces.options import chosen_candidates
from nasi_ray.tables.accuracies import Accuracies


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampledCells:
    """The good samples of one seed beside what the table says of their architectures."""

    index: IntArray
    """Sample index, shape (samples,)"""
    trace_norm: FloatArray
    """e, shape (samples,)"""
    error_percent: FloatArray
    """shape (samples,)"""
    num_params: FloatArray
    """shape (samples,)"""


def sampled_architectures(
    choices: npt.NDArray[np.int16], space: TabularSpace[Any]
) -> list[TabularArchitecture]:
    """The architectures of samples; arguments and errors as of ``chosen_candidates``."""
    return [space.select(space.split(row)) for row in chosen_candidates(choices, space)]


def sampled_cells(table: SampleTable, num_samples: int, accuracies: Accuracies) -> SampledCells:
    """Look the architectures of the good samples up.

    Args:
        table: Samples of one seed.
        num_samples: Samples with an index below this count.
        accuracies: Of their space.

    Raises:
        ConfigError: If every cell had a draw of its own.
        DataError: If an architecture is not in the table.
    """
    used = table.below(num_samples)
    architectures = sampled_architectures(used.choices[used.ok], accuracies.space)
    return SampledCells(
        index=used.index[used.ok],
        trace_norm=used.trace_norm[used.ok],
        error_percent=accuracies.errors_percent(architectures),
        num_params=np.array([a.num_params() for a in architectures], dtype=np.float64),
    )


class SpaceReference:
    """What needs no search: the errors of the whole space, by which a search is to be judged."""

    def __init__(self, accuracies: Accuracies) -> None:
        """Look every architecture of the space up.

        Raises:
            DataError: If one is not in the table.
        """
        self.error_name = accuracies.error_name
        """``test error``, or that of another split."""
        self.metric = accuracies.metric.describe()
        """What the errors are: data set, split, schedule, trials."""
        self.errors, self.num_params = accuracies.of_space()
        """Percent and parameters, shape (architectures,) each, in the space's order."""

    @property
    def expected(self) -> float:
        """Expected error of a random architecture: what choosing blindly gives."""
        return float(self.errors.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the error of a random architecture."""
        return float(self.errors.std())

    @property
    def best(self) -> float:
        """Smallest error there is, by the very metric that is reported."""
        return float(self.errors.min())

    def best_of(self, num_architectures: int) -> float:
        """Expected error of the best of k random architectures, if an oracle could tell which.

        E min = Σ_i e_(i) ((1 - (i - 1)/n)^k - (1 - i/n)^k) with errors sorted ascending: exact for
        draws with replacement. No search has this oracle: it reads the metric that is reported.

        Args:
            num_architectures: k ≥ 1.
        """
        errors = np.sort(self.errors)
        survivors = (1 - np.arange(len(errors) + 1) / len(errors)) ** num_architectures
        return float(errors @ (survivors[:-1] - survivors[1:]))

    def share_better(self, error_percent: float) -> float:
        """Share of the space's architectures with a smaller error, in [0, 1]."""
        return float((self.errors < error_percent).mean())

    @property
    def most_parameters(self) -> tuple[int, float, float, int]:
        """Largest parameter count; mean and spread (std) of the errors that have it; how many."""
        largest = int(self.num_params.max())
        errors = self.errors[self.num_params == largest]
        return largest, float(errors.mean()), float(errors.std()), len(errors)

    def to_json(self, num_samples: int) -> dict[str, Any]:
        """All of it; the oracle picks the best of ``num_samples``."""
        num_params, mean, std, num = self.most_parameters
        return {
            "num_architectures": len(self.errors),
            "random_mean": self.expected,
            "random_std": self.std,
            "oracle_best_of_num_samples": self.best_of(num_samples),
            "most_parameters": {"num_params": num_params, "mean": mean, "std": std, "num": num},
            "best": self.best,
        }
