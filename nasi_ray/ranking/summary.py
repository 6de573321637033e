"""Summarise scores and accuracies for ``ranking.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.proxies.base import Proxy
from nasi_ray.ranking.scores import ProxyScores
from nasi_ray.statistics import (
    Correlation,
    coefficient,
    deciles,
    finite_or_none,
    mean_over_seeds,
    partial_correlation,
    rank_correlations,
    seed_agreement,
)

_MAX_REASONS = 5
NUM_AT_END = 5
"""Architectures shown from each end of a ranking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapConfig:
    """Intervals of the correlations; they have no effect on scores."""

    num_bootstrap: int
    """Number of draws (≥ 0); 0: no intervals."""
    seed: int
    """Seed of the draws (≥ 0)."""


def summarise_proxy(
    scores: ProxyScores,
    proxy: Proxy,
    error_percent: FloatArray | None,
    bootstrap: BootstrapConfig,
    *,
    size: FloatArray | None = None,
) -> dict[str, Any]:
    """One entry of ``proxies`` in ``ranking.json`` (see ``docs/ranking.md``).

    Args:
        scores: The proxy's scores.
        proxy: The proxy.
        error_percent: Test errors, shape (architectures,), or None without a table.
        bootstrap: Settings of the intervals.
        size: Numbers of parameters, shape (architectures,), NaN where missing; None: not known.

    Returns:
        JSON-ready; a correlation that is not defined is None.
    """
    mean = mean_over_seeds(scores.scores)
    there = np.isfinite(mean)
    summary: dict[str, Any] = {
        "name": proxy.name,
        "paper": proxy.paper,
        "year": proxy.year,
        "higher_is_better": proxy.higher_is_better,
        "num_scored": int(there.sum()),
        "num_missing": int((~there).sum()),
        "num_failed": scores.num_failed,
        "num_lost": scores.num_lost,
        "num_absent": scores.num_absent,
        "reasons": dict(islice(scores.reasons.items(), _MAX_REASONS)),
        "seconds_per_score": float(scores.seconds.mean()) if len(scores.seconds) else None,
        "seeds": list(scores.seeds),
        "seed_agreement": finite_or_none(seed_agreement(scores.scores)),
        **_ends(mean, higher_is_better=proxy.higher_is_better),
    }
    if error_percent is None:
        return summary
    accuracy, error = 100.0 - error_percent[there], error_percent[there]
    rho, tau = rank_correlations(
        mean[there], accuracy, num_bootstrap=bootstrap.num_bootstrap, seed=bootstrap.seed
    )
    return summary | {
        "spearman": _correlation_fields(rho),
        "kendall": _correlation_fields(tau),
        **_beyond_size(mean, error_percent, size, bootstrap),
        "per_seed": _per_seed(scores, error_percent),
        "deciles": [asdict(decile) for decile in deciles(mean[there], error)],
        "best": _best(mean, error_percent, higher_is_better=proxy.higher_is_better),
    }


def warnings_of(proxies: Sequence[dict[str, Any]]) -> list[str]:
    """Warnings for users of the trace norm, one line each.

    Args:
        proxies: Entries of ``proxies``, with or without correlations.
    """
    rho = {p["name"]: p["spearman"] for p in proxies if "spearman" in p}
    value, high = (rho.get("trace_norm", {}).get(key) for key in ("value", "high"))
    if value is None:
        return []
    lines = []
    if value < 0:
        sure = ""
        if high is not None:
            sure = ", its interval is below 0" if high < 0 else ", though its interval includes 0"
        lines.append(
            f"the trace norm is anti-correlated with accuracy (Spearman {value:+.3f}{sure}): "
            "networks it scores higher are worse"
        )
    params = rho.get("num_params", {}).get("value")
    if params is not None and value < params:
        lines.append(
            f"the trace norm ranks worse than the number of parameters (Spearman {value:+.3f} "
            f"against {params:+.3f})"
        )
    return lines


def _correlation_fields(found: Correlation) -> dict[str, float | None]:
    ends = {key: finite_or_none(getattr(found, key)) for key in ("value", "low", "high")}
    return {**ends, "n": found.num_pairs}


def _beyond_size(
    mean: FloatArray,
    error_percent: FloatArray,
    size: FloatArray | None,
    bootstrap: BootstrapConfig,
) -> dict[str, Any]:
    if size is None:
        return {"beyond_size": None, "beyond_size_interval": None}
    there = np.isfinite(mean) & np.isfinite(size)
    found = partial_correlation(
        mean[there],
        100.0 - error_percent[there],
        size[there],
        num_bootstrap=bootstrap.num_bootstrap,
        seed=bootstrap.seed,
    )
    return {
        "beyond_size": finite_or_none(found.value),
        "beyond_size_interval": {
            "low": finite_or_none(found.low),
            "high": finite_or_none(found.high),
        },
    }


def _per_seed(scores: ProxyScores, error_percent: FloatArray) -> list[dict[str, Any]]:
    rows = []
    for seed, of_seed in zip(scores.seeds, scores.scores, strict=True):
        there = np.isfinite(of_seed)
        x, accuracy = of_seed[there], 100.0 - error_percent[there]
        rows.append(
            {
                "seed": seed,
                "n": int(there.sum()),
                "spearman": finite_or_none(coefficient(x, accuracy, "spearman")),
                "kendall": finite_or_none(coefficient(x, accuracy, "kendall")),
            }
        )
    return rows


def _ends(mean: FloatArray, *, higher_is_better: bool) -> dict[str, list[dict[str, Any]]]:
    """The columns and scores at both ends of the ranking; each architecture at most once."""
    there = np.flatnonzero(np.isfinite(mean))
    values = -mean[there] if higher_is_better else mean[there]
    order = there[np.argsort(values, kind="stable")].tolist()
    rows = [{"column": column, "score": float(mean[column])} for column in order]
    return {
        "highest_ranked": rows[:NUM_AT_END],
        "lowest_ranked": rows[NUM_AT_END:][-NUM_AT_END:],
    }


def _best(
    mean: FloatArray, error_percent: FloatArray, *, higher_is_better: bool
) -> dict[str, Any] | None:
    """The architecture with the proxy's best score: its column, score and error."""
    there = np.flatnonzero(np.isfinite(mean))
    if not len(there):
        return None
    value = mean[there] if higher_is_better else -mean[there]
    column = int(there[int(np.argmax(value))])
    return {
        "column": column,
        "score": float(mean[column]),
        "error_percent": float(error_percent[column]),
        "num_better": int((error_percent < error_percent[column]).sum()),
    }
