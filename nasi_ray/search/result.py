"""The result of a search, from its records: for Python and for ``result.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import PATH, EstimateConfig
from nasi_ray.display.formats import plural
from nasi_ray.nasi.estimates import architecture_of, make_estimate
from nasi_ray.nasi.estimator import Estimate, GradientEstimate, Margin, kept_margins, margins
from nasi_ray.records.rows import MeasurementTable, SampleTable, SearchRecords
from nasi_ray.run.provenance import versions
from nasi_ray.run.schemas import RESULT_SCHEMA
from nasi_ray.run.settings import flat_settings
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import Architecture, Cost, SearchSpace
from nasi_ray.spaces.options import architecture_at


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class SearchResult:
    """A finished search."""

    content: Mapping[str, Any]
    """The content of ``result.json`` (``docs/result.md``)."""
    uri: str
    """The run directory: an absolute path or ``s3://bucket/prefix``."""
    records: SearchRecords
    """Everything recorded, of every sample."""
    estimate: Estimate
    """α*, and what gives its standard errors."""
    architecture: Architecture
    """The cell: for DARTS a ``Genotype``."""

    def __repr__(self) -> str:
        cell = self.architecture.to_string()
        shown = cell if len(cell) <= 60 else f"{cell[:57]}..."
        samples = plural(self.num_samples, "sample")
        return f"SearchResult({self.space!r}, {samples}, {shown!r}, {self.uri!r})"

    @property
    def space(self) -> str:
        """Name of the space."""
        return str(self.content["space"])

    @property
    def num_samples(self) -> int:
        """Number of samples T of the estimate, failed ones included."""
        return int(self.content["num_samples"])

    @property
    def table(self) -> SampleTable | None:
        """Every sample with e and its gradient; None if the objective is of measurements."""
        return self.records.samples

    @property
    def alpha(self) -> dict[str, FloatArray]:
        """Decision -> logits of α*, one per candidate in the space's order."""
        return get_space(self.space).split(self.estimate.alpha)

    @property
    def margins(self) -> dict[str, Margin]:
        """Decision -> lead of its first choice over its second, with standard error."""
        return margins(self.estimate, get_space(self.space))

    def to_dict(self) -> dict[str, Any]:
        """The content of ``result.json``."""
        return dict(self.content)

    def _repr_svg_(self) -> str | None:
        """The picture of a DARTS cell, for notebooks; None for other spaces."""
        draw = getattr(self.architecture, "_repr_svg_", None)
        return None if draw is None else str(draw())


_NEW_SETTINGS = {
    "objective": "trace-norm",
    "estimator": "straight-through",
    "max_params": None,
    "max_madds": None,
}
"""Settings that older answers do not name -> what those answers were made with."""


def estimate_settings(config: EstimateConfig) -> dict[str, Any]:
    """The settings of an estimate by which answers are told apart."""
    settings = flat_settings(config)
    return {k: v for k, v in settings.items() if k not in _NEW_SETTINGS or _NEW_SETTINGS[k] != v}


def make_result(
    records: SearchRecords,
    *,
    space: SearchSpace,
    config: EstimateConfig,
    uri: str,
    identity: Mapping[str, Any],
    lost: Sequence[int],
    run: Mapping[str, Any],
) -> SearchResult:
    """Estimate α* and select a cell.

    Args:
        records: Those with index ≥ ``config.num_samples`` are used for ν = auto only.
        space: The search space.
        config: Settings of the estimate.
        uri: The run directory.
        identity: What the samples were made with.
        lost: Indices of samples that no attempt completed.
        run: About this command: ``seconds``, ``cost``.

    Raises:
        NasiRayError: If no sample is good, or no cell fits the budget.
    """
    result = make_estimate(records, space, config, identity)
    architecture = architecture_of(result, space, config)
    content = {
        "schema": RESULT_SCHEMA,
        "space": space.name,
        "seed": identity.get("seed"),
        "objective": config.objective,
        "estimator": config.estimator,
        **_describe_settings(result, config),
        **_describe_records(records.below(config.num_samples), config),
        **describe_alpha(result, space),
        **architecture.fields(),
        **_describe_costs(result, architecture, space, config),
        "lost": list(lost),
        "samples": dict(identity),
        "versions": versions(),
        **run,
    }
    return SearchResult(
        content=content, uri=uri, records=records, estimate=result, architecture=architecture
    )


def _describe_settings(result: Estimate, config: EstimateConfig) -> dict[str, Any]:
    """Settings that the objective reads; ν and what goes with it only for the trace norm."""
    common = {"pairing": config.pairing}
    if not config.needs_gradient:
        return common
    nu: float | list[float] | None = None
    if isinstance(result, GradientEstimate):
        nu = float(result.nu[0]) if config.method == "fix" else result.nu.tolist()
    return {
        "nu_asked": config.nu,
        "method": config.method,
        "nu": nu,
        "mu": config.mu,
        "xi": config.xi,
        **common,
        "normalize": config.normalize,
        "norm_epsilon": config.norm_epsilon,
    }


def _describe_records(used: SearchRecords, config: EstimateConfig) -> dict[str, Any]:
    """Counts, and statistics of what was measured."""
    found: dict[str, Any] = {}
    if config.needs_gradient and used.samples is not None:
        main: SampleTable | MeasurementTable = used.samples
        found["trace_norm"] = _statistics(used.samples.trace_norm[used.samples.ok])
    else:
        main = used.measurements[PATH]
    measured = {
        name: _statistics(column[np.isfinite(column)])
        for table in used.measurements.values()
        for name, column in table.values.items()
        if np.isfinite(column).any()
    }
    return {
        "num_samples": len(main),
        "num_failed": int((~main.ok).sum()),
        "failed": {str(i): why for i, why in sorted(main.errors.items())},
        **found,
        **({"measured": measured} if measured else {}),
        "sample_seconds": _seconds(used),
    }


def describe_alpha(result: Estimate, space: SearchSpace) -> dict[str, Any]:
    """α, margins and probabilities by decision, JSON-ready; what is not known is None."""
    found, kept = margins(result, space), kept_margins(result, space)
    logits = space.split(result.alpha)
    return {
        "alpha": {name: [_known(v) for v in row.tolist()] for name, row in logits.items()},
        "margins": {name: _known(margin.value) for name, margin in found.items()},
        "margin_errors": {name: _known(m.standard_error) for name, m in found.items()},
        "probabilities": {name: _known(m.probability) for name, m in found.items()},
        "kept_margins": {name: _known(margin.value) for name, margin in kept.items()},
        "kept_margin_errors": {name: _known(m.standard_error) for name, m in kept.items()},
        "kept_probabilities": {name: _known(m.probability) for name, m in kept.items()},
    }


def _describe_costs(
    result: Estimate, architecture: Architecture, space: SearchSpace, config: EstimateConfig
) -> dict[str, Any]:
    """What the final network costs, and the best cells under limits of its parameters."""
    costs: dict[str, Cost] = {"num_params": "params", "multiply_adds": "multiply_adds"}
    known = dict(result.costs) or space.costs_of(architecture)
    front = [
        {
            "max_params": point.max_params,
            "num_params": point.num_params,
            "multiply_adds": point.multiply_adds,
            "score": point.score,
            "architecture": architecture_at(space, point.position).to_string(),
        }
        for point in result.front
    ]
    return {
        **{name: known[kind] for name, kind in costs.items() if kind in known},
        **({} if config.max_params is None else {"max_params": config.max_params}),
        **({} if config.max_madds is None else {"max_madds": config.max_madds}),
        **({"front": front} if front else {}),
    }


def _seconds(used: SearchRecords) -> float:
    """Sum of all evaluation times."""
    measured = sum(float(table.seconds.sum()) for table in used.measurements.values())
    return measured + (0.0 if used.samples is None else float(used.samples.seconds.sum()))


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _statistics(values: FloatArray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
    }
