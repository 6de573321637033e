"""A replay: from stored records and a grid to cells, a table and a map."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from nasi_ray.config import EstimateConfig
from nasi_ray.display.formats import plural
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.estimates import refuse_impossible, selected_cells
from nasi_ray.replay.grid import Grid, configs_of, points_of
from nasi_ray.run.finish import to_json
from nasi_ray.run.plan import settle_uri
from nasi_ray.search.run import Run
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import Architecture
from nasi_ray.storage import Storage, open_storage

if TYPE_CHECKING:
    import pandas

    from nasi_ray.tables.accuracies import Accuracies

REPLAY_SCHEMA = "nasi_ray.replay/1"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Replay:
    """The cell that every run selects at every point of a grid."""

    content: Mapping[str, Any]
    """The content of ``replay.json`` (``docs/replay.md``)."""
    cells: tuple[Architecture, ...]
    """Every cell once; those that are selected most often come first."""
    uri: str | None = None
    """Where the files are; None if none is written."""
    files: tuple[str, ...] = ()
    """Names of the files written."""

    def __repr__(self) -> str:
        num = len(self.content["points"])
        found = plural(len(self.content["runs"]), "run"), plural(len(self.cells), "cell")
        return f"Replay({plural(num, 'point')}, {', '.join(found)})"

    def to_pandas(self) -> pandas.DataFrame:
        """A row per point and run: the point's settings, ``run``, ``seed``, ``cell``, ..."""
        import pandas  # takes a second to import

        return pandas.DataFrame(rows_of(self.content))


def run_replay(
    uris: Sequence[str], grid: Grid, *, table: str = "", metric: str = "", out: str = ""
) -> Replay:
    """Select a cell at every point of a grid; nothing is evaluated.

    Args:
        uris: Run directories of searches of one space (at least one).
        grid: As ``replay.grid`` makes it.
        table: Table of accuracies, or the directory of tables; empty: none.
        metric: Column of the table; empty: its default.
        out: Directory for ``replay.json``, ``replay.csv`` and the map; empty: none is written.

    Raises:
        ConfigError: If the runs do not answer the grid, or are of several spaces.
        NasiRayError: If a run, the table or the storage fails.
    """
    storage = open_storage(settle_uri(out)) if out else None
    points, runs = points_of(grid), open_runs(uris)
    space = get_space(runs[0].space)
    accuracies = None
    if table:
        from nasi_ray.tables.accuracies import open_accuracies

        accuracies = open_accuracies(space.name, table, metric)
    configs = configs_of(points, lambda settings: common_config(runs, settings))
    for run in runs:
        for config in dict.fromkeys(configs):
            refuse_impossible(space, config, sample_per=str(run.settings["sample_per"]))
            run.check(config)
    cells = [selected_cells(run.records, space, configs, run.settings) for run in runs]
    content, found = _content(runs, points, cells, accuracies)
    if storage is None:
        return Replay(content=content, cells=found)
    files = _write(storage, content)
    return Replay(content=content, cells=found, uri=storage.uri, files=files)


def common_config(runs: Sequence[Run], settings: Mapping[str, Any]) -> EstimateConfig:
    """Settings of an estimate, with as many samples as every run has of what it reads.

    Raises:
        ConfigError: If a name or value is not allowed.
    """
    return min((run.config(**settings) for run in runs), key=lambda config: config.num_samples)


def open_runs(uris: Sequence[str]) -> list[Run]:
    """Open the runs of one space.

    Args:
        uris: Run directories (at least one).

    Raises:
        ConfigError: If there is none, or they are of several spaces.
        NasiRayError: If one cannot be read.
    """
    if not uris:
        raise ConfigError("no run was given; name the --out of one or more searches")
    runs = [Run.open(uri) for uri in uris]
    for i, run in enumerate(runs):
        if any(run.settings == other.settings for other in runs[:i]):
            raise ConfigError(
                f"the samples of {run.uri} are those of another run that was given (seed "
                f"{run.settings['seed']}); give each search once"
            )
    for run in runs[1:]:
        if run.space != runs[0].space:
            raise ConfigError(
                f"{runs[0].uri} is a search of {runs[0].space} and {run.uri} one of {run.space}; "
                "give runs of one space"
            )
    return runs


def rows_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per point and run."""
    cells = content["cells"]
    return [
        {
            **point["settings"],
            "run": run["run"],
            "seed": run["seed"],
            "cell": number,
            **{
                name: cells[number - 1][name]
                for name in ("architecture", "num_params", "error_percent")
                if name in cells[number - 1]
            },
        }
        for point in content["points"]
        for run, number in zip(content["runs"], point["cells"], strict=True)
    ]


def _content(
    runs: Sequence[Run],
    points: Sequence[Mapping[str, Any]],
    cells: Sequence[Sequence[Architecture]],
    accuracies: Accuracies | None,
) -> tuple[dict[str, Any], tuple[Architecture, ...]]:
    """The content of ``replay.json``, and its cells; ``cells`` is run by run."""
    names = [[cell.to_string() for cell in of_run] for of_run in cells]
    by_name = dict(zip(chain(*names), chain(*cells), strict=True))
    places: dict[str, list[tuple[int, int]]] = {name: [] for name in by_name}
    for r, of_run in enumerate(names):
        for p, name in enumerate(of_run):
            places[name].append((p, r))
    order = sorted(by_name, key=lambda name: -len(places[name]))
    number = {name: i for i, name in enumerate(order, start=1)}
    found = tuple(by_name[name] for name in order)
    errors = {} if accuracies is None else _errors(found, accuracies)
    content = {
        "schema": REPLAY_SCHEMA,
        "space": runs[0].space,
        "runs": [{"run": run.uri, "seed": run.settings.get("seed")} for run in runs],
        **({} if accuracies is None else {"error": accuracies.error_name}),
        "cells": [
            {
                "architecture": name,
                **_size(runs[0].space, by_name[name]),
                **errors.get(name, {}),
                "num_points": len({p for p, _ in places[name]}),
                "num_runs": len({r for _, r in places[name]}),
                "num_selected": len(places[name]),
            }
            for name in order
        ],
        "points": [
            {"settings": dict(point), "cells": [number[of_run[p]] for of_run in names]}
            for p, point in enumerate(points)
        ],
    }
    return content, found


def _size(space: str, cell: Architecture) -> dict[str, Any]:
    params = get_space(space).costs_of(cell).get("params", cell.num_params())
    return {} if params is None else {"num_params": int(params)}


def _errors(cells: Sequence[Any], accuracies: Accuracies) -> dict[str, dict[str, float]]:
    errors = accuracies.errors_percent(cells).tolist()
    return {
        cell.to_string(): {"error_percent": error}
        for cell, error in zip(cells, errors, strict=True)
    }


def _write(storage: Storage, content: Mapping[str, Any]) -> tuple[str, ...]:
    from nasi_ray.replay.map import map_files

    rows = rows_of(content)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    files = {
        "replay.json": to_json(content),
        "replay.csv": text.getvalue().encode(),
        **map_files(content),
    }
    for name, data in files.items():
        storage.write(name, data)
    return tuple(files)
