"""Records -> what ``result.json`` says of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.estimator import estimate, kept_margins, margins
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.result import architecture_fields

RESULT_SCHEMA = "nasi_ray.search/1"


def summarise(table: SampleTable, *, space: SearchSpace, config: EstimateConfig) -> dict[str, Any]:
    """What the samples say: the parts of ``result.json`` that follow from them alone.

    Args:
        table: Samples; of index ≥ ``config.num_samples`` only ν = auto may use some.
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
    by_decision = space.split(result.alpha)
    found, kept = margins(result, space), kept_margins(result, space)
    used = table.below(config.num_samples)
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
        "alpha": {name: logits.tolist() for name, logits in by_decision.items()},
        "margins": {name: margin.value for name, margin in found.items()},
        "margin_errors": {name: _known(m.standard_error) for name, m in found.items()},
        "kept_margins": {name: margin.value for name, margin in kept.items()},
        "kept_margin_errors": {name: _known(m.standard_error) for name, m in kept.items()},
        **architecture_fields(space.select(by_decision, pairing=config.pairing)),
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
