"""What an architecture is to have: measurements with a sign, by name (``docs/selection.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray, average_ranks, drawn_ranks
from nasi_ray.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """A sum of terms, each a measurement; larger is better."""

    terms: Mapping[str, float]
    """Measurement -> +1 if a large value is wanted, -1 if a small one."""
    scale: str = "rank"
    """``rank``: average rank / (T + 1); ``log``: the logarithm."""
    is_joint: bool = False
    """Whether the terms are added before they are fitted, rather than fitted one by one and each
    divided by its standard deviation over the space."""
    has_num_params: bool = False
    """Whether the exact number of parameters of the final network is a term."""

    @property
    def measurements(self) -> tuple[str, ...]:
        """Names of the measurements that it reads."""
        return tuple(dict.fromkeys(n for term in self.terms for n in DERIVED.get(term, (term,))))


DERIVED = {"scale_free_trace_norm": ("relative_trace_norm", "logit_variance")}
"""Measurement that is a ratio -> numerator and denominator."""

OBJECTIVES: dict[str, Objective] = {
    "relative": Objective(
        terms={"scale_free_trace_norm": 1.0, "ntk_trace_estimate": -1.0}, is_joint=True
    ),
    "size-relative": Objective(
        terms={"path_params": 2.0, "relative_trace_norm": -1.0}, scale="log", is_joint=True
    ),
    "panel": Objective(terms={"naswot": 1.0, "relative_trace_norm": -1.0}, has_num_params=True),
    "balanced": Objective(
        terms={"path_params": 1.0, "path_multiply_adds": 1.0, "logit_variance": -1.0},
        has_num_params=True,
    ),
    "expressive": Objective(
        terms={"path_params": 1.0, "naswot": 1.0, "scale_free_trace_norm": 1.0}
    ),
}
"""Objectives of measurements; ``trace-norm``, the paper's, is made of e (``estimator.py``)."""


def get_objective(name: str) -> Objective:
    """Look an objective of measurements up.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, list(OBJECTIVES))
    return OBJECTIVES[name]


def rewards(objective: Objective, values: Mapping[str, FloatArray]) -> FloatArray:
    """The terms of an objective for samples, each signed so that larger is better.

    Args:
        objective: The objective.
        values: Measurement -> shape (samples,); NaN where it is not defined, which ties for the
            last place.

    Returns:
        shape (samples, terms); one column if the terms are joint
    """
    columns = []
    for name, sign in objective.terms.items():
        column = _column(values, name)
        columns.append(_ranks(sign * column) if objective.scale == "rank" else _logs(sign, column))
    found = np.stack(columns, axis=1)
    return found.sum(axis=1, keepdims=True) if objective.is_joint else found


def drawn_rewards(
    objective: Objective, values: Mapping[str, FloatArray], counts: IntArray
) -> FloatArray:
    """``rewards`` of samples drawn with replacement, for many draws at once.

    Args:
        objective: The objective.
        values: As for ``rewards``.
        counts: How often each sample was drawn, shape (draws, samples).

    Returns:
        shape (draws, samples, terms); what is not drawn has some number
    """
    columns = []
    for name, sign in objective.terms.items():
        column = _column(values, name)
        if objective.scale == "rank":
            signed = np.where(np.isnan(column), -np.inf, sign * column)
            total = counts.sum(axis=1, keepdims=True)
            columns.append(drawn_ranks(signed, counts) / (total + 1))
        else:
            columns.append(np.broadcast_to(_logs(sign, column), counts.shape))
    found = np.stack(columns, axis=2)
    return found.sum(axis=2, keepdims=True) if objective.is_joint else found


def _column(values: Mapping[str, FloatArray], name: str) -> FloatArray:
    numerator, *denominator = DERIVED.get(name, (name,))
    column = values[numerator]
    for other in denominator:
        column = column / values[other]
    return column


def _ranks(signed: FloatArray) -> FloatArray:
    """Average rank / (T + 1)."""
    return average_ranks(np.where(np.isnan(signed), -np.inf, signed)) / (len(signed) + 1)


def _logs(sign: float, column: FloatArray) -> FloatArray:
    is_known = column > 0
    logs = sign * np.log(column, where=is_known, out=np.full(len(column), np.nan))
    lowest = logs[is_known].min() if is_known.any() else 0.0
    return np.where(is_known, logs, lowest)
