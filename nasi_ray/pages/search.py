"""The part of a page about one search."""

from __future__ import annotations

import base64
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import PATH, EstimateConfig
from nasi_ray.display.formats import format_number, plural
from nasi_ray.errors import DataError, NasiRayError, RecordCorruptError
from nasi_ray.nasi.estimates import make_estimate, selected_cells
from nasi_ray.nasi.estimator import Estimate, GradientEstimate
from nasi_ray.pages import specs
from nasi_ray.pages.blocks import Block, Code, Explorer, Figure, Note, Part, Picture
from nasi_ray.pages.explore import Steps, can_replay, explorer_of, replay_of, steps_of
from nasi_ray.pages.files import read_json, read_settings, section
from nasi_ray.pages.images import data_blocks
from nasi_ray.pages.lanes import figures_of, orders_of, rows_of, slots_of
from nasi_ray.pages.made import made_blocks, size_blocks, work_blocks
from nasi_ray.records.reader import identity_of, read_records
from nasi_ray.records.rows import SearchRecords
from nasi_ray.search.text import DecisionRow, decision_rows, summary_lines
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.storage import Storage

MAX_DOTS = 1000
_PERCENTILES = (2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98)
_MUS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
_SETTINGS = (
    *("num_samples", "objective", "estimator", "max_params", "max_madds", "method"),
    *("mu", "xi", "pairing", "normalize", "norm_epsilon"),
)


class _Search:
    """A search's answer, and what its records give again; each is read when it is asked for."""

    def __init__(self, storage: Storage, answer: Mapping[str, Any]) -> None:
        self.storage, self.answer = storage, answer
        self.space: SearchSpace = get_space(str(answer["space"]))
        given = {name: answer[name] for name in _SETTINGS if name in answer}
        if answer.get("nu_asked") is not None:
            given["nu"] = answer["nu_asked"]
        self.config = EstimateConfig(**given)
        self.slots = slots_of(self.space, self.config.pairing)
        self._records: SearchRecords | None = None
        self._estimate: Estimate | None = None
        self._steps: Steps | None = None

    @property
    def has_map(self) -> bool:
        """Whether ν and μ are settings of the answer, and quick to change."""
        return self.config.needs_gradient and self.config.estimator == "straight-through"

    @property
    def cell(self) -> str:
        """What the answer selects, in the notation of the space."""
        if "genotype" in self.answer:
            return Genotype.from_dict(self.answer["genotype"]).to_string()
        return str(self.answer["architecture"])

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the samples were made with."""
        found: Mapping[str, Any] = self.answer["samples"]
        return found

    @property
    def records(self) -> SearchRecords:
        """Of the run."""
        if self._records is None:
            identity_of(self.storage, "samples")
            found = read_records(self.storage.uri)
            if found.samples is None and not found.measurements:
                raise DataError(f"the records of {self.storage.uri} are gone")
            self._records = found
        return self._records

    @property
    def estimate(self) -> Estimate:
        """The answer's α again, without its draws."""
        if self._estimate is None:
            self._estimate = make_estimate(
                self.records, self.space, self.config, self.identity, num_draws=0
            )
        return self._estimate

    @property
    def steps(self) -> Steps:
        """α at some T."""
        if self._steps is None:
            self._steps = steps_of(self.records, self.space, self.config, self.identity)
        return self._steps

    @property
    def alpha(self) -> FloatArray:
        """α of ``result.json``."""
        return alpha_of(self.answer, self.space)


def alpha_of(answer: Mapping[str, Any], space: SearchSpace) -> FloatArray:
    """α of an answer, shape (num_logits,); -inf where no cell is allowed.

    Raises:
        KeyError: If a decision is missing.
        RecordCorruptError: If a decision has another number of logits than the space gives it.
    """
    rows = [answer["alpha"][decision.name] for decision in space.decisions]
    if [len(row) for row in rows] != [decision.size for decision in space.decisions]:
        raise RecordCorruptError(f"alpha does not fit space {space.name}; run the search again")
    return np.array([-np.inf if v is None else v for row in rows for v in row])


def search_part(storage: Storage, answer: Mapping[str, Any], *, data: str | None = None) -> Part:
    """Describe a search.

    Args:
        storage: Its run directory.
        answer: The content of ``result.json``.
        data: Where the images are now, if they have moved.

    Raises:
        NasiRayError: If the answer is not one of a space that is known.
    """
    run = _Search(storage, answer)
    settings = read_settings(storage)
    source = (read_json(storage, "config.json") or {}).get("source")
    return Part(
        title=f"Search of {run.space.name}, seed {answer.get('seed')}",
        verdict=" ".join(summary_lines(answer).split("\n\n")[0].split()),
        sections=[
            section("The cell", lambda: _cell_blocks(run)),
            section("Decisions", lambda: _decision_blocks(run)),
            section("Candidates", lambda: candidate_figures(run.space, run.alpha)),
            section("Samples", lambda: _sample_blocks(run)),
            *([section("ν and μ", lambda: _map_blocks(run))] if run.has_map else []),
            section("Size of the network", lambda: size_blocks(answer)),
            section("Data", lambda: data_blocks(settings, source, data)),
            section("Work", lambda: work_blocks([storage], answer)),
            section("How it was made", lambda: made_blocks(storage, "search", answer)),
        ],
    )


def cell_figures(space: SearchSpace, answer: Mapping[str, Any], alpha: FloatArray) -> list[Figure]:
    """The cell as lanes; none for a space without them.

    Args:
        space: The space.
        answer: With ``pairing`` and ``kept_probabilities``.
        alpha: shape (num_logits,)
    """
    slots = slots_of(space, answer.get("pairing", "rank"))
    shares = answer.get("kept_probabilities", {})
    rows = rows_of(slots, space, orders_of(space, alpha), lambda name: shares.get(name, 1.0))
    return figures_of(space, rows) if rows else []


def picture_blocks(storage: Storage, name: str, alt: str) -> list[Block]:
    """The drawing that a run keeps of its cell; none if there is none."""
    try:
        drawn = storage.read(name)
    except FileNotFoundError:
        return []
    address = f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode()}"
    return [Picture(title="The cell as a graph", data=address, alt=alt,
                    about=f"What is open is dashed ({name}).")]  # fmt: skip


def _cell_blocks(run: _Search) -> list[Block]:
    text = "\n\n".join(summary_lines(run.answer).split("\n\n")[1:])
    figures = cell_figures(run.space, run.answer, run.alpha)
    read = "A row is an operation. The dot says what it takes, the right side which node it is for."
    note = f"{read} Percent: how likely another seed makes the same choice (docs/confidence.md); "
    return [
        *([Note(text=note + "what is below 95 % is open: orange, dashed.")] if figures else []),
        *figures,
        *_explorer_blocks(run),
        *picture_blocks(run.storage, "cell.svg", "Drawing of the selected cell, named below."),
        Code(title="All of it as text", text=text.rstrip("\n"), is_folded=True),
    ]


def _explorer_blocks(run: _Search) -> list[Block]:
    try:
        samples, estimate = run.records.samples, run.estimate
    except NasiRayError as error:
        return [Note(text=f"Other settings are not shown: {error}.")]
    gradient = estimate if isinstance(estimate, GradientEstimate) else None
    content = explorer_of(run.space, run.slots, run.steps)
    if samples is not None and gradient is not None and can_replay(samples, run.config):
        content["replay"] = replay_of(samples, run.config, gradient)
    if content["replay"]:
        about = (
            "Move ν, μ or T: this page estimates α again (eq. 18) from the samples that it holds, "
            "and draws the cell above, the candidates and ν below."
        )
    else:
        about = (
            "Move T: the figures of the cell and of the candidates are those of the first T "
            "samples. For other settings: nasi-ray search --config, which answers from the records."
        )
    if gradient is not None and not content["replay"]:
        about += " ν cannot be moved: limits of size, other estimators, and many samples are not "
        about += "repeated in a page."
    return [Explorer(content=content, about=about)]


def _decision_blocks(run: _Search) -> list[Block]:
    rows = decision_rows(run.answer)
    if not rows:
        return [Note(text="There was nothing to decide.")]
    unit = "margin, α" if run.config.needs_gradient else "margin, standard deviations of the score"
    found: list[Block] = [interval_figure(rows, unit)]
    try:
        found.append(_settled(run, [row.name for row in rows]))
    except NasiRayError as error:
        found.append(Note(text=f"How they settled is not shown: {error}."))
    return found


def interval_figure(rows: Sequence[DecisionRow], unit: str) -> Figure:
    """The margin of every decision.

    Args:
        rows: Of ``search.text``.
        unit: Of the axis.
    """
    return Figure(
        name="decisions",
        title="First choice against second",
        spec=specs.intervals([_interval(row) for row in rows], unit),
        about="Dot: margin. Bar: two standard errors to both sides.",
        headings=("decision", "first choice", "second choice", "margin", "stands"),
        rows=[row.cells for row in rows],
    )


def _interval(row: DecisionRow) -> dict[str, Any]:
    margin, error = row.margin or 0.0, row.error or 0.0
    return {"name": row.name, "first": row.first, "second": row.second, "value": margin,
            "low": margin - 2 * error, "high": margin + 2 * error, "error": row.error,
            "share": row.probability, "state": "stands" if row.is_decided else "open"}  # fmt: skip


def _settled(run: _Search, shown: Sequence[str]) -> Figure:
    last, rows = orders_of(run.space, run.alpha), []
    since: dict[str, int] = {}
    for num, alpha in run.steps:
        for decision, now, end in zip(
            run.space.decisions, orders_of(run.space, alpha), last, strict=True
        ):
            if decision.name not in shown:
                continue
            taken, final = ({*order[: decision.num_chosen]} for order in (now, end))
            is_same = taken == final
            first = ", ".join(decision.candidates[i] for i in sorted(taken))
            rows.append({"t": str(num), "name": decision.name, "mark": "",
                         "state": "as at the end" if is_same else "other",
                         "tip": f"{decision.name}, T={num}: {first}"})  # fmt: skip
            since[decision.name] = since.get(decision.name) or num if is_same else 0
    colour = specs.colours("state", ("as at the end", "other"), (specs.BLUE, specs.ORANGE))
    x = specs.names("t", "samples T", axis={"labelAngle": 0, "labelOverlap": True})
    return Figure(
        name="settled",
        title="How the decisions settled",
        spec=specs.tiles(rows, x, specs.names("name"), colour, height=specs.ROW * len(shown)),
        about="Whether the first choice with the first T samples is that with all of them.",
        headings=("decision", "as at the end from T ="),
        rows=[(name, since.get(name) or "-") for name in shown],
    )


def candidate_figures(space: SearchSpace, alpha: FloatArray) -> list[Figure]:
    """p_α of every candidate, a figure for operations and one for inputs.

    Args:
        space: The space.
        alpha: shape (num_logits,)
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    orders = orders_of(space, alpha)
    for decision, where, order in zip(space.decisions, space.slices, orders, strict=True):
        shifted = np.exp(alpha[where] - alpha[where].max())
        shares = shifted / shifted.sum()
        tiles = groups.setdefault(decision.name.rpartition("/")[2], [])
        for i, (name, p) in enumerate(zip(decision.candidates, shares.tolist(), strict=True)):
            tiles.append({"name": decision.name, "candidate": name, "p": p * decision.size,
                          "mark": "kept" if i in order[: decision.kept] else "",
                          "tip": f"{decision.name}, {name}: p {p:.4g}"})  # fmt: skip
    return [_candidate_figure(group, rows) for group, rows in groups.items()]


def _candidate_figure(group: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    num = len({row["name"] for row in rows})
    color = specs.quantity("p", "p × candidates (1: even)", scale={"scheme": "blues"},
                           legend={"gradientLength": 160})  # fmt: skip
    x = specs.names("candidate", axis={"labelAngle": -40, "labelOverlap": False})
    return Figure(
        name=f"candidates-{group}" if group.isidentifier() else "candidates",
        title=f"p_α of the candidates: {group}",
        spec=specs.tiles(rows, x, specs.names("name"), color, height=specs.ROW * num),
        about="p_α = softmax(α) of each decision. A dot: the cell keeps it.",
        headings=("decision", "candidate", "p × candidates", "kept"),
        rows=[(row["name"], row["candidate"], f"{row['p']:.4g}", row["mark"]) for row in rows],
        live="candidates",
    )


def _sample_blocks(run: _Search) -> list[Block]:
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


def _measured_blocks(run: _Search, used: SearchRecords) -> list[Block]:
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


def _map_blocks(run: _Search) -> list[Block]:
    """Which cell each ν and μ selects; ν at percentiles of e, so that all of them cut."""
    samples = run.records.below(run.config.num_samples).samples
    if samples is None or not samples.ok.any():
        raise DataError("the records have no e")
    e = samples.trace_norm[samples.ok]
    nus = dict.fromkeys(float(f"{nu:.4g}") for nu in np.percentile(e, _PERCENTILES).tolist())
    points = [(nu, mu) for mu in sorted({*_MUS, run.config.mu}) for nu in nus]
    configs = [dataclasses.replace(run.config, nu=nu, mu=mu) for nu, mu in points]
    found = selected_cells(run.records, run.space, configs, run.identity)
    cells = [cell.to_string() for cell in found]
    order = [cell for cell, _ in Counter(cells).most_common()]
    numbers = [order.index(cell) + 1 for cell in cells]
    last = len(specs.PALETTE)
    rows = [
        {
            "nu": format_number(nu),
            "mu": f"{mu:g}",
            "cell": f"cell {number}" if number <= last else "others",
            "tip": f"ν {nu:g}, μ {mu:g}: cell {number}, {cell}",
            "mark": "answer" if cell == run.cell else "",
        }
        for (nu, mu), number, cell in zip(points, numbers, cells, strict=True)
    ]
    named = [f"cell {i}" for i in range(1, min(len(order), last) + 1)]
    named += ["others"] if len(order) > last else []
    colour = specs.colours("cell", named, (*specs.PALETTE[: min(len(order), last)], specs.GREY))
    x = specs.names("nu", "ν (ν₀ of ada), at percentiles of e", axis={"labelAngle": -40})
    y = specs.names("mu", "μ")
    return [
        Figure(
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
    ]


def _thinned(items: Sequence[Any]) -> Sequence[Any]:
    return items[:: -(-len(items) // MAX_DOTS)] if len(items) > MAX_DOTS else items


def _left_out(num: int) -> str:
    step = -(-num // MAX_DOTS)
    return "" if step == 1 else f" One of {step} of the {num:,} samples is drawn."


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None
