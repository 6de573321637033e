"""How large a network is, who did the work, and how a run was made."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nasi_ray.describe.job import describe
from nasi_ray.describe.settings import DescribeJob
from nasi_ray.display.formats import format_rate, format_seconds
from nasi_ray.errors import DataError
from nasi_ray.pages.blocks import Block, Code, Figure, Note, Table
from nasi_ray.pages.files import read_settings_text
from nasi_ray.pages.specs import bars, names, quantity
from nasi_ray.spaces import Genotype
from nasi_ray.spaces.final_network import final_network
from nasi_ray.spaces.network_costs import costs_of
from nasi_ray.storage import Storage

_MAX_BARS = 400
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


def work_blocks(storage: Storage, answer: Mapping[str, Any]) -> list[Block]:
    """Who evaluated the samples, how fast, and at what cost."""
    parts = [n for n in storage.list("samples/") if n.endswith(".parquet")]
    parts = parts or [n for n in storage.list("measurements/path/") if n.endswith(".parquet")]
    if not parts:
        raise DataError(f"the records of {storage.uri} are gone")
    columns = ["index", "worker", "seconds"]
    tables = [pq.read_table(io.BytesIO(storage.read(n)), columns=columns) for n in parts]
    rows = pa.concat_tables(tables).sort_by("index").to_pylist()
    by_worker: dict[str, list[dict[str, Any]]] = {}
    seen = set()
    for row in rows:
        if row["index"] not in seen:
            seen.add(row["index"])
            by_worker.setdefault(str(row["worker"]), []).append(row)
    busy = {name: sum(row["seconds"] for row in own) for name, own in by_worker.items()}
    total = sum(busy.values())
    numbers = [
        (name, len(own), format_seconds(busy[name]), format_rate(_rate(len(own), busy[name])))
        for name, own in by_worker.items()
    ]
    facts = (
        f"{len(seen):,} samples took {format_seconds(total)} of all workers together, "
        f"{format_rate(_rate(len(seen), total))} a worker; the last command took "
        f"{format_seconds(answer.get('seconds'))}. "
    )
    facts += str(answer.get("cost") or "What it cost is not known: there was no --price-list.")
    return [
        Note(text=facts),
        Figure(
            name="workers",
            title="Workers' time",
            spec=bars(_bars(by_worker), quantity("start", "busy seconds, without waiting"),
                      names("worker"), until="end"),
            about="Samples one after the other, in the order of their index; when each began is "
            "not recorded.",
            headings=("worker", "samples", "busy", "rate"),
            rows=numbers,
        ),
    ]  # fmt: skip


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds else None


def _bars(by_worker: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    step = max(1, -(-sum(map(len, by_worker.values())) // _MAX_BARS))
    found = []
    for worker, own in by_worker.items():
        start = 0.0
        for i in range(0, len(own), step):
            group = own[i : i + step]
            end = start + sum(row["seconds"] for row in group)
            first, last = group[0]["index"], group[-1]["index"]
            which = f"sample {first}" if first == last else f"samples {first} to {last}"
            found.append({"worker": worker, "start": round(start, 4), "end": round(end, 4),
                          "tip": f"{worker}: {which}, {end - start:.3g} s"})  # fmt: skip
            start = end
    return found


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
