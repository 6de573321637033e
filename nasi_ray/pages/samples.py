"""The samples of a search in figures, and which cells they select with other ν and μ."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import PATH
from nasi_ray.display.formats import format_number, plural
from nasi_ray.errors import DataError
from nasi_ray.nasi.estimates import selected_cells
from nasi_ray.nasi.estimator import GradientEstimate
from nasi_ray.pages import specs
from nasi_ray.pages.blocks import Block, Figure, Note
from nasi_ray.pages.search_run import SearchRun
from nasi_ray.records.rows import SearchRecords

MAX_DOTS = 1000
_PERCENTILES = (2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98)
_MUS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


def sample_blocks(run: SearchRun) -> list[Block]:
    """What was measured of each sample, and how often; of a gradient e and ν_t.

    Raises:
        DataError: If no sample is good.
    """
    used = run.records.below(run.config.num_samples)
    if not run.config.needs_gradient or used.samples is None:
        return _measured_blocks(run, used)
    ok, index = used.samples.ok, used.samples.index
    if not ok.any():
        raise DataError("no sample is good")
    e, t = used.samples.trace_norm[ok], index[ok]
    nu: list[dict[str, float]] = []
    if isinstance(run.estimate, GradientEstimate):
        limits = list(zip(t.tolist(), run.estimate.nu.tolist(), strict=True))
        nu = [{"t": i, "nu": value} for i, value in _thinned(limits)]
    above = int((e > run.estimate.nu).sum()) if isinstance(run.estimate, GradientEstimate) else 0
    pairs = _thinned(list(zip(t.tolist(), e.tolist(), strict=True)))
    dots = [{"t": i, "e": float(f"{value:.5g}")} for i, value in pairs]
    sweep = " (the median: ν was swept)" if run.config.nu == "sweep" else ""
    note = f"{above} of {len(e)} samples have an e above ν{sweep}."
    return [
        Figure(
            name="samples",
            title="Trace norm e over samples",
            spec=specs.over_samples(dots, nu, "e", log=bool(e.min() > 0)),
            about=f"Dots: samples. Line: ν_t. {note}{_left_out(len(e))}",
            headings=("e", "value"),
            rows=[(k, format_number(v)) for k, v in run.answer.get("trace_norm", {}).items()],
            live="nu",
        ),
        _histogram(e, nu[-1:], note),
    ]


def bins_of(values: FloatArray) -> list[dict[str, float]]:
    """Counts in bins of equal width, or of equal ratio where values spread over a decade."""
    low, high = float(values.min()), float(values.max())
    span = np.geomspace if low > 0 and high > 10 * low else np.linspace
    edges = span(low, high if high > low else low + 1, 31)
    edges[0], edges[-1] = low, max(edges[-1], high)
    counts = np.histogram(values, edges)[0]
    return [{"low": a, "high": b, "count": c} for a, b, c in
            zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)]  # fmt: skip


def _histogram(e: FloatArray, nu: Sequence[Mapping[str, float]], note: str) -> Figure:
    bins = bins_of(e)
    return Figure(
        name="histogram",
        title="Where ν cuts e",
        spec=specs.histogram(bins, nu, "e", log=bool(e.min() > 0)),
        about=f"Line: ν (the last ν_t). {note}",
        headings=("e from", "to", "samples"),
        rows=[(format_number(b["low"]), format_number(b["high"]), b["count"]) for b in bins],
        live="nu",
    )


def _measured_blocks(run: SearchRun, used: SearchRecords) -> list[Block]:
    table = used.measurements[PATH]
    names = [name for name, column in table.values.items() if np.isfinite(column).any()]
    if not names:
        return [Note(text="Nothing was measured of any sample.")]
    rows = [
        {"t": int(table.index[i]), **{n: _rounded(table.values[n][i]) for n in names}}
        for i in _thinned(range(len(table)))
    ]
    good = {n: table.values[n][np.isfinite(table.values[n])] for n in names}
    bins = [{"name": name, **one} for name, values in good.items() for one in bins_of(values)]
    is_log = all(values.min() > 0 for values in good.values())
    over, counts = specs.measured(rows, bins, names, log=is_log)
    statistics = run.answer.get("measured", {})
    headings = ("measurement", "mean", "std", "min", "max")
    numbers = [
        (name, *(format_number(statistics.get(name, {}).get(key)) for key in headings[1:]))
        for name in names
    ]
    about = f"Choose a measurement below the figure.{_left_out(len(table))}"
    counted = "Choose a measurement below the figure. All samples are counted."
    return [
        Figure(name="samples", title="What was measured, over samples", spec=over, about=about,
               headings=headings, rows=numbers),
        Figure(name="histogram", title="The same, how often", spec=counts, about=counted,
               headings=headings, rows=numbers),
    ]  # fmt: skip


def map_blocks(run: SearchRun) -> list[Block]:
    """Which cell each ν and μ selects; ν at percentiles of e, so that all of them cut.

    Raises:
        DataError: If there are no good samples.
    """
    samples = run.records.below(run.config.num_samples).samples
    if samples is None or not samples.ok.any():
        raise DataError("the records have no e")
    e = samples.trace_norm[samples.ok]
    nus = dict.fromkeys(float(f"{nu:.4g}") for nu in np.percentile(e, _PERCENTILES).tolist())
    points = [(nu, mu) for mu in sorted({*_MUS, run.config.mu}) for nu in nus]
    configs = [dataclasses.replace(run.config, nu=nu, mu=mu) for nu, mu in points]
    found = selected_cells(run.records, run.space, configs, run.identity)
    cells = [cell.to_string() for cell in found]
    return [_map(points, cells, run.cell)]


def _map(points: Sequence[tuple[float, float]], cells: Sequence[str], answer: str) -> Figure:
    order = [cell for cell, _ in Counter(cells).most_common()]
    numbers = [order.index(cell) + 1 for cell in cells]
    last = len(specs.PALETTE)
    rows = [
        {
            "nu": format_number(nu),
            "mu": f"{mu:g}",
            "cell": f"cell {number}" if number <= last else "others",
            "tip": f"ν {nu:g}, μ {mu:g}: cell {number}, {cell}",
            "mark": "answer" if cell == answer else "",
        }
        for (nu, mu), number, cell in zip(points, numbers, cells, strict=True)
    ]
    named = [f"cell {i}" for i in range(1, min(len(order), last) + 1)]
    named += ["others"] if len(order) > last else []
    colour = specs.colours("cell", named, (*specs.PALETTE[: min(len(order), last)], specs.GREY))
    x = specs.names("nu", "ν (ν₀ of ada), at percentiles of e", axis={"labelAngle": -40})
    y = specs.names("mu", "μ")
    return Figure(
        name="map",
        title="Cells over ν and μ",
        spec=specs.tiles(rows, x, y, colour, height=specs.ROW * len({r["mu"] for r in rows})),
        about=f"{plural(len(order), 'cell')} at {len(points)} points, the most frequent first. "
        "A dot: the cell of the answer. All else is as in the answer.",
        headings=("ν", "μ", "cell", "notation"),
        rows=[
            (row["nu"], row["mu"], number, cell)
            for row, number, cell in zip(rows, numbers, cells, strict=True)
        ],
    )


def _thinned(items: Sequence[Any]) -> Sequence[Any]:
    return items[:: -(-len(items) // MAX_DOTS)] if len(items) > MAX_DOTS else items


def _left_out(num: int) -> str:
    step = -(-num // MAX_DOTS)
    return "" if step == 1 else f" One of {step} of the {num:,} samples is drawn."


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None
