"""The part of a page about one search."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.errors import NasiRayError
from nasi_ray.nasi.estimator import GradientEstimate
from nasi_ray.pages import specs
from nasi_ray.pages.blocks import Block, Code, Explorer, Figure, Note, Part, Picture
from nasi_ray.pages.explore import can_replay, explorer_of, replay_of
from nasi_ray.pages.files import read_json, read_settings, section
from nasi_ray.pages.images import data_blocks
from nasi_ray.pages.lanes import figures_of, orders_of, rows_of, slots_of
from nasi_ray.pages.made import made_blocks, size_blocks, work_blocks
from nasi_ray.pages.samples import map_blocks, sample_blocks
from nasi_ray.pages.search_run import SearchRun
from nasi_ray.search.text import DecisionRow, decision_rows, summary_lines
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.storage import Storage


def search_part(storage: Storage, answer: Mapping[str, Any], *, data: str | None = None) -> Part:
    """Describe a search.

    Args:
        storage: Its run directory.
        answer: The content of ``result.json``.
        data: Where the images are now, if they have moved.

    Raises:
        NasiRayError: If the answer is not one of a space that is known.
    """
    run = SearchRun(storage, answer)
    settings = read_settings(storage)
    source = (read_json(storage, "config.json") or {}).get("source")
    return Part(
        title=f"Search of {run.space.name}, seed {answer.get('seed')}",
        verdict=" ".join(summary_lines(answer).split("\n\n")[0].split()),
        sections=[
            section("The cell", lambda: _cell_blocks(run)),
            section("Decisions", lambda: _decision_blocks(run)),
            section("Candidates", lambda: candidate_figures(run.space, run.alpha)),
            section("Samples", lambda: sample_blocks(run)),
            *([section("ν and μ", lambda: map_blocks(run))] if run.has_map else []),
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


def _cell_blocks(run: SearchRun) -> list[Block]:
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


def _explorer_blocks(run: SearchRun) -> list[Block]:
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


def _decision_blocks(run: SearchRun) -> list[Block]:
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


def _settled(run: SearchRun, shown: Sequence[str]) -> Figure:
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
        about="p_α = softmax(α) of each decision; α of a score is what the candidate costs. A dot: "
        "the cell keeps it.",
        headings=("decision", "candidate", "p × candidates", "kept"),
        rows=[(row["name"], row["candidate"], f"{row['p']:.4g}", row["mark"]) for row in rows],
        live="candidates",
    )
