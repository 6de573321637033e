"""Text and Markdown of the study's numbers; every number with its count and spread."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nasi_ray.display.formats import plural
from nasi_ray.display.tables import markdown_table
from nasi_ray.statistics import NUM_RESAMPLES, Correlation, finite_or_none
from nasi_ray.study.accuracies import SpaceReference
from nasi_ray.study.selection import SeedStatistics, Selection

MODE_NAMES = {
    "true": "true labels and images",
    "random-labels": "random labels",
    "random-data": "random data",
}
"""Data mode -> as figures and tables name it."""

TIED_NOTE = (
    "*tied*: α* is the same for the last candidate taken and the first left out (as when every G "
    "is zero), so the order in which candidates are listed selects the cell, and not the samples. "
    "No mean includes such cells."
)

INTERVAL_NOTE = (
    f"In brackets: 95 % percentile bootstrap interval ({NUM_RESAMPLES} resamples) of the mean over "
    "these seeds; coefficients are computed within each seed and averaged. The interval covers "
    "what is drawn anew for every sample (architecture and batch, and θ0 with init_per = sample); "
    "the spread over seeds shows the rest."
)

_NO_NUMBER = "–"


def number(value: float, digits: int = 2) -> str:
    """Fixed digits; a dash where there is no number."""
    return f"{value:.{digits}f}" if math.isfinite(value) else _NO_NUMBER


def plain(value: float | str) -> str:
    """A setting's value: ``1000``, ``q25``."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def interval(correlation: Correlation | None) -> str:
    """``+0.31 [+0.20, +0.42]``, signed; a dash where it is not defined."""
    if correlation is None or not math.isfinite(correlation.value):
        return _NO_NUMBER
    value, low, high = correlation.value, correlation.low, correlation.high
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:+.2f}"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def per_seed(correlation: Correlation) -> str:
    """The coefficient of every seed."""
    return ", ".join(number(value) for value in correlation.per_seed)


def over_seeds_text(statistics: SeedStatistics) -> str:
    """``7.12 ± 0.34 (n = 5)``, and how many were left out."""
    if not statistics.num:
        return f"tied (all {statistics.num_tied})"
    spread = f" ± {statistics.std:.2f}" if math.isfinite(statistics.std) else ""
    more = f"; {statistics.num_tied} tied left out" if statistics.num_tied else ""
    return f"{statistics.mean:.2f}{spread} (n = {statistics.num}{more})"


def selection_text(selection: Selection) -> str:
    """Error of one selected cell, or that it is tied."""
    return tied_text(selection.tied) or f"{selection.error_percent:.2f}"


def tied_text(tied: Sequence[str]) -> str:
    """``tied (2 decisions)``; empty where nothing ties."""
    return f"tied ({plural(len(tied), 'decision')})" if tied else ""


def selections_table(
    seeds: Sequence[int], selections: Sequence[Selection], reference: SpaceReference
) -> list[str]:
    """Markdown of the cells that the seeds selected."""
    rows = [
        (
            str(seed),
            f"`{s.architecture}`",
            selection_text(s),
            f"{100 * reference.share_better(s.error_percent):.1f} %",
            f"{s.num_params:,}",
            f"{100 * s.share_penalised:.0f} %",
        )
        for seed, s in zip(seeds, selections, strict=True)
    ]
    headings = (
        "seed",
        "cell",
        "error, %",
        "of the space is better",
        "parameters",
        "samples with e > ν",
    )
    return markdown_table(headings, rows)


def reference_rows(reference: SpaceReference, num_samples: int) -> list[tuple[str, str]]:
    """What needs no search: name and error in percent."""
    num_params, mean, std, num = reference.most_parameters
    spread = f"mean of the {num} that have {num_params:,}" if num > 1 else f"{num_params:,}"
    return [
        (
            "random architecture: mean ± std over the space",
            f"{reference.expected:.2f} ± {reference.std:.2f}",
        ),
        (
            f"*oracle*: best of {num_samples} random architectures, picked by this very column, "
            "expected",
            f"{reference.best_of(num_samples):.2f}",
        ),
        (f"most parameters ({spread})", f"{mean:.2f}" + (f" ± {std:.2f}" if num > 1 else "")),
        ("space's best, by this very column", f"{reference.best:.2f}"),
    ]


def reference_line(reference: SpaceReference) -> str:
    """What choosing blindly and what choosing best give."""
    return f"Random architecture {reference.expected:.2f} %, space's best {reference.best:.2f} %."


def jsonable(value: Any) -> Any:
    """Make a value of JSON's types: dataclasses become objects, arrays lists, and NaN null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return jsonable(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    return finite_or_none(value) if isinstance(value, float) else value
