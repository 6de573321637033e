"""How large a network is, who did the work, and how a run was made."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq

from nasi_ray.describe.job import describe
from nasi_ray.describe.settings import DescribeJob
from nasi_ray.display.formats import format_rate, format_seconds
from nasi_ray.errors import DataError
from nasi_ray.pages.blocks import Block, Code, Figure, Note, Table
from nasi_ray.pages.files import read_settings_text
from nasi_ray.pages.specs import bars, names, quantity
from nasi_ray.records.format import ENDED
from nasi_ray.spaces import Genotype
from nasi_ray.spaces.final_network import final_network
from nasi_ray.spaces.network_costs import costs_of
from nasi_ray.storage import Storage

_MAX_BARS = 400
_PAUSE_S = 60.0
"""Of all workers, as between two commands; longer ones would leave nothing to see."""
_USUAL = (("cifar10", 16), ("cifar10", 36), ("cifar100", 36), ("imagenet", 46), ("imagenet", 48))
"""Networks and widths that papers compare; the benchmarks of other spaces fix theirs."""


def size_blocks(answer: Mapping[str, Any]) -> list[Block]:
    """Parameters and multiply-adds of the cell's network at the usual widths."""
    rows: list[tuple[object, ...]] = []
    if "genotype" in answer:
        genotype = Genotype.from_dict(answer["genotype"])
        for name, channels in _USUAL:
            network = final_network(name, init_channels=channels)
            cost = costs_of(genotype, network).total(genotype)
            rows.append(
                (name, channels, network.num_cells, *_millions(cost.params, cost.multiply_adds))
            )
    else:
        for name in ("cifar10", "cifar100"):
            job = DescribeJob(space=str(answer["space"]), architecture=str(answer["architecture"]),
                              network=name)  # type: ignore[arg-type]  # fmt: skip
            found = describe(job)
            cells = found.get("num_cells", "the benchmark's")
            rows.append((name, found["init_channels"], cells,
                         *_millions(found["parameters"], found["madds"])))  # fmt: skip
    headings = ("network", "C", "cells", "parameters", "multiply-adds")
    return [Table(title="Networks of this cell", headings=headings, rows=rows)]


def _millions(*counts: float) -> list[str]:
    return [f"{count / 1e6:,.3f} M" for count in counts]


def work_blocks(runs: Sequence[Storage], answer: Mapping[str, Any]) -> list[Block]:
    """Who evaluated the samples, when, how fast, and at what cost.

    Args:
        runs: Directories of one or more searches.
        answer: With the ``seconds`` of the last command, and its ``cost`` if that is known.

    Raises:
        DataError: If no run has records.
    """
    by_worker = _evaluations(runs)
    busy = {name: sum(row["seconds"] for row in own) for name, own in by_worker.items()}
    num, total = sum(map(len, by_worker.values())), sum(busy.values())
    numbers = [
        (name, len(own), format_seconds(busy[name]), format_rate(_rate(len(own), busy[name])))
        for name, own in by_worker.items()
    ]
    facts = (
        f"{num:,} samples took {format_seconds(total)} of all workers together, "
        f"{format_rate(_rate(num, total))} a worker; the last command took "
        f"{format_seconds(answer.get('seconds'))}. "
    )
    facts += str(answer.get("cost") or "What it cost is not known: there was no --price-list.")
    if all(row["ended"] is not None for own in by_worker.values() for row in own):
        about = _since_the_first(by_worker)
        title = "seconds since the first sample began"
    else:
        about = _one_after_the_other(by_worker)
        title = "busy seconds, without waiting"
    spec = bars(_bars(by_worker), quantity("start", title), names("worker"), until="end")
    headings = ("worker", "samples", "busy", "rate")
    return [
        Note(text=facts),
        Figure(name="workers", title="Workers' time", spec=spec, about=about, headings=headings,
               rows=numbers),
    ]  # fmt: skip


def _evaluations(runs: Sequence[Storage]) -> dict[str, list[dict[str, Any]]]:
    """Worker -> ``run``, ``index``, ``seconds`` and ``ended`` of its samples, in that order."""
    by_worker: dict[str, list[dict[str, Any]]] = {}
    for storage in runs:
        run = storage.uri.rpartition("/")[2] if len(runs) > 1 else ""
        for row in _rows_of(storage):
            by_worker.setdefault(str(row["worker"]), []).append({ENDED: None, "run": run, **row})
    if not by_worker:
        raise DataError(f"the records of {runs[0].uri} are gone")
    return by_worker


def _rows_of(storage: Storage) -> list[dict[str, Any]]:
    """Samples of a run that were evaluated, by index."""
    parts = [n for n in storage.list("samples/") if n.endswith(".parquet")]
    parts = parts or [n for n in storage.list("measurements/path/") if n.endswith(".parquet")]
    rows = []
    for name in parts:
        table = pq.read_table(io.BytesIO(storage.read(name)))
        known = ("index", "status", "worker", "seconds", ENDED)
        rows += table.select([c for c in known if c in table.column_names]).to_pylist()
    found = {int(row["index"]): row for row in rows if row["status"] != "lost"}
    return [row for _, row in sorted(found.items())]


def _since_the_first(by_worker: Mapping[str, list[dict[str, Any]]]) -> str:
    """Set ``start`` and ``end`` of each sample to when it ran; return what to say of them."""
    rows = sorted((row for own in by_worker.values() for row in own), key=_start_of)
    first = reached = _start_of(rows[0])
    num_pauses, paused_s = 0, 0.0
    for row in rows:
        if _start_of(row) - reached > _PAUSE_S:
            num_pauses, paused_s = num_pauses + 1, paused_s + _start_of(row) - reached
        reached = max(reached, row["ended"])
        row["start"] = _start_of(row) - first - paused_s
        row["end"] = row["start"] + row["seconds"]
    begin = datetime.fromtimestamp(first, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    about = f"The first sample began at {begin} UTC, by its worker's clock. Gaps are waiting."
    if num_pauses:
        are = "pause is" if num_pauses == 1 else "pauses are"
        about += f" {num_pauses} {are} left out ({format_seconds(paused_s)} without any sample)."
    return about


def _start_of(row: Mapping[str, Any]) -> float:
    return float(row["ended"] - row["seconds"])


def _one_after_the_other(by_worker: Mapping[str, list[dict[str, Any]]]) -> str:
    """Set ``start`` and ``end`` as if no worker had waited; return what to say of them."""
    for own in by_worker.values():
        reached = 0.0
        for row in own:
            row["start"], reached = reached, reached + row["seconds"]
            row["end"] = reached
    return (
        "Samples one after the other, in the order of their index: the program that evaluated "
        "them did not record when."
    )


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds else None


def _bars(by_worker: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Samples, or so many that followed each other that a page has a few hundred bars."""
    ends = [row["end"] for own in by_worker.values() for row in own]
    step, visible_s = -(-len(ends) // _MAX_BARS), max(ends) / _MAX_BARS
    found = []
    for worker, own in by_worker.items():
        group: list[dict[str, Any]] = []
        for row in sorted(own, key=lambda row: float(row["start"])):
            if group and (
                len(group) == step
                or row["run"] != group[-1]["run"]
                or row["start"] - group[-1]["end"] > visible_s
            ):
                found.append(_bar(worker, group))
                group = []
            group.append(row)
        found.append(_bar(worker, group))
    return found


def _bar(worker: str, group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, last = group[0]["index"], group[-1]["index"]
    which = f"sample {first}" if len(group) == 1 else f"{len(group)} samples, {first} to {last}"
    seconds = sum(row["seconds"] for row in group)
    where = f"{worker}, {group[0]['run']}" if group[0]["run"] else worker
    return {
        "worker": worker,
        "start": round(group[0]["start"], 4),
        "end": round(group[-1]["end"], 4),
        "tip": f"{where}: {which}, {seconds:.3g} s",
    }


def made_blocks(storage: Storage, job: str, answer: Mapping[str, Any]) -> list[Block]:
    """The command that repeats a run, its settings, and versions."""
    found: list[Block] = []
    settings = read_settings_text(storage)
    if settings:
        command = shlex.join(["nasi-ray", job, "--config", "settings.yaml", "--out", "runs/again"])
        found.append(Code(title="Again, with the settings below in settings.yaml", text=command))
        found.append(Code(title="settings.yaml", text=settings.rstrip("\n")))
    else:
        found.append(Note(text=f"{storage.uri} has no settings.yaml, so no command is shown."))
    if isinstance(answer.get("samples"), Mapping):
        rows = [(k, v) for k, v in answer["samples"].items()]
        found.append(Table(title="What determines the samples", headings=("setting", "value"),
                           rows=rows, is_folded=True))  # fmt: skip
    return [*found, *versions_table(answer)]


def versions_table(answer: Mapping[str, Any]) -> list[Block]:
    """Packages and their versions; none if they are not known."""
    if not isinstance(answer.get("versions"), Mapping):
        return []
    rows = [*answer["versions"].items(), *dict(answer.get("machine") or {}).items()]
    headings = ("package", "version")
    return [Table(title="Versions", headings=headings, rows=rows, is_folded=True)]
