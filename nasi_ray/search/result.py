"""The result of a search, from its records: for Python and for ``result.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.estimator import Estimate, Margin, estimate, kept_margins, margins
from nasi_ray.records.rows import SampleTable
from nasi_ray.run.provenance import versions
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import Architecture, SearchSpace

RESULT_SCHEMA = "nasi_ray.search/1"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class SearchResult:
    """A finished search."""

    content: Mapping[str, Any]
    """The content of ``result.json`` (``docs/result.md``)."""
    uri: str
    """The run directory: an absolute path or ``s3://bucket/prefix``."""
    table: SampleTable
    """Every sample of the run."""
    estimate: Estimate
    """α* and its terms."""
    architecture: Architecture
    """The cell: for DARTS a ``Genotype``."""

    def __repr__(self) -> str:
        cell = self.architecture.to_string()
        shown = cell if len(cell) <= 60 else f"{cell[:57]}..."
        return f"SearchResult({self.space!r}, {self.num_samples} samples, {shown!r}, {self.uri!r})"

    @property
    def space(self) -> str:
        """Name of the space."""
        return str(self.content["space"])

    @property
    def num_samples(self) -> int:
        """Number of samples T of the estimate, failed ones included."""
        return int(self.content["num_samples"])

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


def make_result(
    table: SampleTable,
    *,
    space: SearchSpace,
    config: EstimateConfig,
    uri: str,
    identity: Mapping[str, Any],
    lost: Sequence[int],
    run: Mapping[str, Any],
) -> SearchResult:
    """Estimate α from samples, select the architecture, and compute its margins.

    Args:
        table: Every sample of the run.
        space: The search space.
        config: Settings of the estimate.
        uri: The run directory.
        identity: What the samples were made with.
        lost: Indices of samples that no attempt completed.
        run: About this command: ``seconds``, ``cost``.

    Raises:
        NasiRayError: If no sample is good.
    """
    result = estimate(table, config)
    architecture = space.select(space.split(result.alpha), pairing=config.pairing)
    content = {
        "schema": RESULT_SCHEMA,
        "space": space.name,
        "seed": identity.get("seed"),
        "nu_asked": config.nu,
        **_describe(result, architecture, table.below(config.num_samples), space, config),
        "lost": list(lost),
        "samples": dict(identity),
        "versions": versions(),
        **run,
    }
    return SearchResult(
        content=content, uri=uri, table=table, estimate=result, architecture=architecture
    )


def summarise(table: SampleTable, *, space: SearchSpace, config: EstimateConfig) -> dict[str, Any]:
    """The parts of ``result.json`` that follow from the samples alone.

    Args:
        table: Samples; those with index ≥ ``config.num_samples`` are used for ν = auto only.
        space: The search space.
        config: Settings of the estimate.

    Returns:
        ``alpha``, ``margins``, ``margin_errors``, ``kept_margins``, ``kept_margin_errors``
        (decision -> number or list), ``nu`` (a number, or one per good sample for ADA), what names
        the architecture (``genotype``, or ``architecture`` and ``hash``), ``trace_norm`` (mean,
        std, min, max), counts and the settings used. JSON-ready; a standard error that is not
        defined is None.

    Raises:
        NasiRayError: If no sample is good.
    """
    result = estimate(table, config)
    architecture = space.select(space.split(result.alpha), pairing=config.pairing)
    return _describe(result, architecture, table.below(config.num_samples), space, config)


def _describe(
    result: Estimate,
    architecture: Architecture,
    used: SampleTable,
    space: SearchSpace,
    config: EstimateConfig,
) -> dict[str, Any]:
    found, kept = margins(result, space), kept_margins(result, space)
    logits = space.split(result.alpha)
    return {
        "method": config.method,
        "nu": float(result.nu[0]) if config.method == "fix" else result.nu.tolist(),
        "mu": config.mu,
        "xi": config.xi,
        "pairing": config.pairing,
        "normalize": config.normalize,
        "norm_epsilon": config.norm_epsilon,
        "num_samples": len(used),
        "num_failed": int((~used.ok).sum()),
        "failed": {str(i): why for i, why in sorted(used.errors.items())},
        "alpha": {name: values.tolist() for name, values in logits.items()},
        "margins": {name: margin.value for name, margin in found.items()},
        "margin_errors": {name: _known(m.standard_error) for name, m in found.items()},
        "kept_margins": {name: margin.value for name, margin in kept.items()},
        "kept_margin_errors": {name: _known(m.standard_error) for name, m in kept.items()},
        **architecture.fields(),
        "trace_norm": _statistics(used.trace_norm[used.ok]),
        "sample_seconds": float(used.seconds.sum()),
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _statistics(e: FloatArray) -> dict[str, float]:
    return {
        "mean": float(e.mean()),
        "std": float(e.std()),
        "min": float(e.min()),
        "max": float(e.max()),
    }
