"""The parts of a page about a sweep: one for each combination of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasi_ray.arrays import FloatArray
from nasi_ray.display.formats import plural
from nasi_ray.errors import DataError
from nasi_ray.pages import specs
from nasi_ray.pages.blocks import Block, Explorer, Figure, Note, Part, Table
from nasi_ray.pages.explore import explorer_of
from nasi_ray.pages.files import read_json, read_result, read_settings, section
from nasi_ray.pages.images import data_blocks
from nasi_ray.pages.lanes import orders_of, slots_of
from nasi_ray.pages.made import made_blocks, size_blocks, work_blocks
from nasi_ray.pages.search import (
    candidate_figures,
    cell_figures,
    interval_figure,
    picture_blocks,
)
from nasi_ray.pages.search_run import alpha_of
from nasi_ray.run.finish import ANSWERS
from nasi_ray.run.schemas import RESULT_SCHEMA
from nasi_ray.search.text import decision_rows
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.statistics import DECIDED_AT
from nasi_ray.storage import Storage, open_storage


def sweep_parts(
    storage: Storage, content: Mapping[str, Any], *, data: str | None = None
) -> list[Part]:
    """Describe a sweep.

    Args:
        storage: Its run directory.
        content: Of ``sweep.json``.
        data: Where the images are now, if they have moved.

    Raises:
        NasiRayError: If the space is not known, or a run cannot be read.
    """
    pairing = str(read_settings(storage).get("pairing", "rank"))
    points = content["combinations"]
    return [
        _Point(storage, content, point, pairing, number if len(points) > 1 else 0, data).part()
        for number, point in enumerate(points, start=1)
    ]


class _Point:
    """One combination of settings: its searches and their consensus."""

    def __init__(
        self,
        storage: Storage,
        content: Mapping[str, Any],
        point: Mapping[str, Any],
        pairing: str,
        number: int,
        data: str | None,
    ) -> None:
        self.storage, self.content, self.number, self.data = storage, content, number, data
        self.searches: Sequence[Mapping[str, Any]] = point["searches"]
        self.changed = ", ".join(f"{name}={value}" for name, value in point["set"].items())
        own = str(point["set"].get("pairing", pairing))
        self.consensus: Mapping[str, Any] = {**(point["consensus"] or {}), "pairing": own}
        self.space: SearchSpace = get_space(str(content["space"]))

    def part(self) -> Part:
        """All there is to say."""
        seeds = plural(len(self.content["seeds"]), "seed")
        title = f"Sweep of {self.space.name}, {seeds}" + (self.changed and f", {self.changed}")
        if not self.searches:
            return Part(title=title, verdict="Every search failed.", sections=[self._failures()])
        sections = [
            section("The consensus", self._consensus_blocks),
            section("Agreement", self._agreement_blocks),
            section("Seeds", self._seed_blocks),
            section("Decisions", self._decision_blocks),
            section("Candidates", lambda: candidate_figures(self.space, self._alpha())),
            section("Size of the network", lambda: size_blocks(self.consensus)),
            section("Data", self._data_blocks),
            section("Work", lambda: work_blocks(self._runs(), self.content)),
            section("How it was made", lambda: made_blocks(self.storage, "sweep", self._made())),
        ]
        if self.content["failures"]:
            sections.append(self._failures())
        return Part(title=title, verdict=self._verdict(), sections=sections)

    def _verdict(self) -> str:
        votes, num = self.consensus["votes"], self.consensus["num_searches"]
        known = [p for p in self.consensus["kept_probabilities"].values() if p is not None]
        same = sum(count == num for count in votes.values())
        stand = sum(p >= DECIDED_AT for p in known)
        sure = f"; {stand} of the cell's {len(known)} choices stand over seeds"
        cell = str(self.consensus.get("architecture", "the cell below"))
        selected = self.consensus["num_selected"]
        by = f"{selected} of them selected it" if selected else "none of them selected it"
        return (
            f"{self.space.name}: of {num} seeds together, {cell} has the best mean score; {by}. "
            f"All of them have the same first choice in {same} of {len(votes)} decisions"
            f"{sure if known else ''}."
        )

    def _alpha(self) -> FloatArray:
        return alpha_of(self.consensus, self.space)

    def _consensus_blocks(self) -> list[Block]:
        figures = cell_figures(self.space, self.consensus, self._alpha())
        own = [(f"seed {one['seed']}", answer) for one, answer in self._answers() if answer]
        steps = [(label, alpha_of(answer, self.space)) for label, answer in own]
        slots = slots_of(self.space, self.consensus["pairing"])
        content = explorer_of(self.space, slots, [*steps, ("the consensus", self._alpha())])
        about = "Choose a seed to see its cell and its candidates in the figures."
        if len(own) < len(self.searches):
            about += f" The answers of {len(self.searches) - len(own)} runs are gone."
        note = (
            "Percent: how likely as many other seeds make the same choice together; what is below "
            "95 % is open: orange, dashed."
        )
        folder = f"consensus/{self.number}/" if self.number else ""
        picture = picture_blocks(self.storage, f"{folder}cell.svg", "Drawing of the consensus.")
        explorer = Explorer(content={**content, "choose": "cell of"}, about=about)
        return [Note(text=note), *figures, explorer, *picture]

    def _answers(self) -> list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
        return [(one, self._answer(one)) for one in self.searches]

    def _answer(self, one: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The answer of a run that the sweep used; its last one may be to other settings."""
        run = self._run(one)
        for name in ("result.json", *run.list(ANSWERS)):
            found = read_result(run, name, RESULT_SCHEMA)
            keys = ("seed", "architecture", "genotype", "kept_probabilities")
            if found is not None and all(found.get(k) == one.get(k) for k in keys):
                return found
        return None

    def _run(self, one: Mapping[str, Any]) -> Storage:
        """The run directory of a search, which may have moved with the sweep."""
        return open_storage(f"{self.storage.uri}/runs/{str(one['run']).rpartition('/')[2]}")

    def _runs(self) -> list[Storage]:
        return [self._run(one) for one in self.searches]

    def _data_blocks(self) -> list[Block]:
        source = (read_json(self._runs()[0], "config.json") or {}).get("source")
        return data_blocks(read_settings(self.storage), source, self.data)

    def _agreement_blocks(self) -> list[Block]:
        num = self.consensus["num_searches"]
        votes = [{"name": name, "count": count, "tip": f"{name}: {count} of {num}"}
                 for name, count in self.consensus["votes"].items()]  # fmt: skip
        whole = list(range(0, num + 1, -(-num // 10)))
        scale, axis = {"domain": [0, num]}, {"values": whole, "format": "d"}
        x = specs.quantity("count", f"seeds of {num}", axis=axis, scale=scale)
        bars = Figure(
            name="votes",
            title="Seeds that choose as the consensus",
            spec=specs.bars(votes, x, specs.names("name")),
            headings=("decision", "seeds"),
            rows=[(row["name"], f"{row['count']} of {num}") for row in votes],
        )
        tiles = self._seed_tiles()
        if not tiles:
            raise DataError("the answers of the seeds' runs are gone")
        colour = specs.colours("state", ("as the consensus", "other"), (specs.BLUE, specs.ORANGE))
        height = specs.ROW * len(votes)
        seeds = Figure(
            name="seeds",
            title="First choice of every seed",
            spec=specs.tiles(tiles, specs.names("seed", "seed", axis={"labelAngle": 0}),
                             specs.names("name"), colour, height=height),
            about="What a seed takes is in the table, and under the pointer.",
            headings=("decision", "seed", "takes"),
            rows=[(row["name"], row["seed"], row["takes"]) for row in tiles],
        )  # fmt: skip
        return [bars, seeds]

    def _seed_tiles(self) -> list[dict[str, Any]]:
        shown, found = self.consensus["votes"], []
        together = orders_of(self.space, self._alpha())
        for one, answer in self._answers():
            if answer is None:
                continue
            own = orders_of(self.space, alpha_of(answer, self.space))
            for decision, mine, all_ in zip(self.space.decisions, own, together, strict=True):
                if decision.name not in shown:
                    continue
                taken, agreed = ({*order[: decision.num_chosen]} for order in (mine, all_))
                names = ", ".join(decision.candidates[i] for i in sorted(taken))
                tip = f"{decision.name}, seed {one['seed']}: {names}"
                found.append({"name": decision.name, "seed": str(one["seed"]), "takes": names,
                              "state": "as the consensus" if taken == agreed else "other",
                              "tip": tip, "mark": ""})  # fmt: skip
        return found

    def _seed_blocks(self) -> list[Block]:
        rows = []
        for one in self.searches:
            known = [p for p in one["kept_probabilities"].values() if p is not None]
            size = f"{one['num_params'] / 1e6:.3f} M" if "num_params" in one else "-"
            cell = one.get("architecture") or "see above"
            stands = f"{sum(p >= DECIDED_AT for p in known)} of {len(known)}"
            rows.append((one["seed"], cell, one["num_samples"], size, stands, one["run"]))
        headings = ("seed", "cell", "samples", "parameters", "stands", "run")
        return [Table(title="Searches", headings=headings, rows=rows)]

    def _decision_blocks(self) -> list[Block]:
        rows = decision_rows({**self.consensus, "space": self.space.name})
        return [interval_figure(rows, "margin of the mean score, over seeds")]

    def _made(self) -> dict[str, Any]:
        names = ("samples",)
        return {**self.content, **{n: self.consensus[n] for n in names if n in self.consensus}}

    def _failures(self) -> Any:
        rows = list(self.content["failures"].items())
        failed = Table(title="Searches that failed", headings=("run", "why"), rows=rows)
        return section("Failures", lambda: [failed])
