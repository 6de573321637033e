"""What workers return and the store keeps: one row per sample or score. Types only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray

Status = Literal["ok", "failed", "lost"]

MAX_MAGNITUDE = 1e150
"""Of a trace norm or an entry of its gradient: the estimate squares them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """One Monte-Carlo sample: e_t, ∇_α e_t and the choices made (``method.md`` section 2)."""

    index: int
    """Sample index t, counted from 0."""
    status: Status
    """``failed``: e or its gradient is not finite, which is final. ``lost``: every attempt ended
    with a dead worker or an exception; a later run tries again."""
    trace_norm: float
    """e_t = ‖∇_θ L_t‖² (eq. 12); NaN exactly when not ok, and never part of an estimate."""
    grad: FloatArray
    """∇_α e_t, shape (num_logits,), in the order of the space's decisions; NaN if not ok."""
    choices: IntArray
    """Candidates chosen, flat: draws in order (one per step or per cell), decisions in order."""
    error: str = ""
    """Why the sample is not ok; empty when it is."""
    seconds: float = 0.0
    """Wall time of the evaluation."""
    worker: str = ""
    """Who evaluated it (for people; has no effect)."""
    ended: float | None = None
    """Unix time at which that ended, in seconds, by the worker's clock; None if it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleTable:
    """Samples as columns, sorted by index, each index once."""

    index: IntArray
    """shape (samples,)"""
    ok: npt.NDArray[np.bool_]
    """shape (samples,)"""
    trace_norm: FloatArray
    """shape (samples,); NaN where not ok"""
    grad: FloatArray
    """shape (samples, num_logits); NaN where not ok"""
    errors: dict[int, str] = field(default_factory=dict)
    """Sample index -> why it is not ok, for samples that are not."""
    seconds: FloatArray
    """shape (samples,)"""
    choices: npt.NDArray[np.int16]
    """Candidates chosen, as in ``Sample``, shape (samples, choices); filled with -1 (lost samples
    have no choices)"""

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def from_samples(cls, samples: Iterable[Sample], num_logits: int) -> SampleTable:
        """Sort samples by index; if an index is given twice, the first that is not lost is kept.

        Args:
            samples: Any order.
            num_logits: Length of every ``grad``.
        """
        by_index: dict[int, Sample] = {}
        for sample in samples:
            before = by_index.get(sample.index)
            if before is None or (before.status == "lost" and sample.status != "lost"):
                by_index[sample.index] = sample
        rows = [by_index[i] for i in sorted(by_index)]
        return cls(
            index=np.array([s.index for s in rows], dtype=np.int64),
            ok=np.array([s.status == "ok" for s in rows], dtype=np.bool_),
            trace_norm=np.array([s.trace_norm for s in rows], dtype=np.float64),
            grad=np.array([s.grad for s in rows], dtype=np.float64).reshape(len(rows), num_logits),
            errors={s.index: s.error for s in rows if s.status != "ok"},
            seconds=np.array([s.seconds for s in rows], dtype=np.float64),
            choices=_padded([s.choices for s in rows]),
        )

    def below(self, num_samples: int) -> SampleTable:
        """The rows with index < num_samples."""
        end = int(np.searchsorted(self.index, num_samples))
        return SampleTable(
            index=self.index[:end],
            ok=self.ok[:end],
            trace_norm=self.trace_norm[:end],
            grad=self.grad[:end],
            errors={i: why for i, why in self.errors.items() if i < num_samples},
            seconds=self.seconds[:end],
            choices=self.choices[:end],
        )


def _padded(choices: Sequence[IntArray]) -> npt.NDArray[np.int16]:
    padded = np.full((len(choices), max(map(len, choices), default=0)), -1, dtype=np.int16)
    for row, chosen in zip(padded, choices, strict=True):
        row[: len(chosen)] = chosen
    return padded


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measurement:
    """What was measured of one sample's sub-network."""

    index: int
    """Sample index t, counted from 0."""
    status: Status
    """``failed``: the sub-network has none of the values, which is final. ``lost``: every attempt
    ended with a dead worker or an exception; a later run tries again."""
    values: Mapping[str, float | None]
    """Name -> value, finite; None where it is not defined; empty if not ok."""
    choices: IntArray
    """Candidates chosen, as in ``Sample``."""
    error: str = ""
    """Why there are no values; empty when there are."""
    seconds: float = 0.0
    """Wall time of the evaluation."""
    worker: str = ""
    """Who evaluated it (for people; has no effect)."""
    ended: float | None = None
    """Unix time at which that ended, in seconds, by the worker's clock; None if it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasurementTable:
    """Measurements as columns, sorted by index, each index once."""

    index: IntArray
    """shape (samples,)"""
    ok: npt.NDArray[np.bool_]
    """shape (samples,)"""
    lost: npt.NDArray[np.bool_]
    """shape (samples,); which of those that are not ok will be tried again"""
    values: Mapping[str, FloatArray]
    """Name -> shape (samples,); NaN where not defined"""
    choices: npt.NDArray[np.int16]
    """Candidates chosen, shape (samples, choices); filled with -1"""
    errors: dict[int, str] = field(default_factory=dict)
    """Sample index -> why there are no values."""
    seconds: FloatArray
    """shape (samples,)"""

    def __len__(self) -> int:
        return len(self.index)

    def below(self, num_samples: int) -> MeasurementTable:
        """The rows with index < num_samples."""
        end = int(np.searchsorted(self.index, num_samples))
        return MeasurementTable(
            index=self.index[:end],
            ok=self.ok[:end],
            lost=self.lost[:end],
            values={name: column[:end] for name, column in self.values.items()},
            choices=self.choices[:end],
            errors={i: why for i, why in self.errors.items() if i < num_samples},
            seconds=self.seconds[:end],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SearchRecords:
    """Everything that a search has recorded, of its first samples or of all."""

    samples: SampleTable | None = None
    """e and its gradient; None if they were not asked for."""
    measurements: Mapping[str, MeasurementTable] = field(default_factory=dict)
    """Series (``path``, or a proxy) -> what was measured of the same samples."""

    def below(self, num_samples: int) -> SearchRecords:
        """The rows with index < num_samples."""
        return SearchRecords(
            samples=None if self.samples is None else self.samples.below(num_samples),
            measurements={k: table.below(num_samples) for k, table in self.measurements.items()},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyScore:
    """One proxy's score of one architecture at one seed."""

    index: int
    """seed · architectures of the space + position in the space's enumeration."""
    status: Status
    """``failed``: the proxy has no finite score here, which is final. ``lost``: every attempt ended
    with a dead worker or an exception; a later run tries again."""
    score: float
    """As the proxy defines it, with its own sign; NaN exactly when not ok."""
    error: str = ""
    """Why there is no score; empty if there is one."""
    seconds: float = 0.0
    """Wall time of the evaluation, the network's construction included."""
    worker: str = ""
    """Who evaluated it (for people; has no effect)."""
    ended: float | None = None
    """Unix time at which that ended, in seconds, by the worker's clock; None if it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoreTable:
    """Scores of one proxy as columns, sorted by index, each index once."""

    index: IntArray
    """shape (scores,)"""
    ok: npt.NDArray[np.bool_]
    """shape (scores,)"""
    lost: npt.NDArray[np.bool_]
    """shape (scores,); which of those that are not ok will be tried again"""
    score: FloatArray
    """shape (scores,); NaN where not ok"""
    errors: dict[int, str] = field(default_factory=dict)
    """Index -> why there is no score, for missing scores."""
    seconds: FloatArray
    """shape (scores,)"""

    def __len__(self) -> int:
        return len(self.index)

    def only(self, indices: Iterable[int]) -> ScoreTable:
        """The rows with one of the indices."""
        rows = np.isin(self.index, np.fromiter(indices, dtype=np.int64))
        index = self.index[rows]
        return ScoreTable(
            index=index,
            ok=self.ok[rows],
            lost=self.lost[rows],
            score=self.score[rows],
            errors={i: self.errors[i] for i in index.tolist() if i in self.errors},
            seconds=self.seconds[rows],
        )
