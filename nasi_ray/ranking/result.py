"""The end of a ranking: accuracies out of a table, and the files of the run directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import DataError, StorageError, UnknownNameError
from nasi_ray.proxies import get_proxy
from nasi_ray.ranking.architectures import (
    RANKED_SPACES,
    distinct_positions,
    get_ranked_space,
    table_keys,
)
from nasi_ray.ranking.plot import save_ranking_plots
from nasi_ray.ranking.scores import ProxyScores, gather
from nasi_ray.ranking.scores_csv import scores_csv
from nasi_ray.ranking.summary import (
    RANKING_SCHEMA,
    BootstrapConfig,
    summarise_proxy,
    warnings_of,
)
from nasi_ray.ranking.text import ranking_markdown
from nasi_ray.records import RecordStore, read_identity
from nasi_ray.records.rows import ProxyScore, ScoreTable
from nasi_ray.run.compute import to_json
from nasi_ray.run.provenance import versions
from nasi_ray.spaces.nb1shot1 import NB1Shot1Space
from nasi_ray.storage import Storage
from nasi_ray.tables.metric import Metric
from nasi_ray.tables.tabular import TabularBenchmark

ScoreStore = RecordStore[ProxyScore, ScoreTable]

_MAX_PARTS = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Accuracies:
    """Test errors of the architectures asked for."""

    table: str
    """Where they are from."""
    metric: Metric
    """What they are."""
    error_percent: FloatArray
    """shape (architectures,)"""


def read_accuracies(path: str, metric: str | None, space: str, positions: IntArray) -> Accuracies:
    """Look the architectures up.

    Args:
        path: Parquet table.
        metric: Its column; None: the only one there is.
        space: Name of the space.
        positions: Of the architectures, shape (architectures,).

    Raises:
        DataError: If the table cannot be read, is of another space, has several columns and none
            was named, or lacks an architecture.
        UnknownNameError: If it has no such column.
    """
    table = TabularBenchmark.open(path)
    key = "hash" if isinstance(RANKED_SPACES[space], NB1Shot1Space) else "arch"
    if table.key != key:
        raise DataError(
            f"{path} is keyed by {table.key!r} and no table of {space}, which is keyed by {key!r}"
        )
    chosen = _choose(table, metric)
    errors = table.errors_percent(chosen, table_keys(space, positions))
    return Accuracies(table=path, metric=chosen, error_percent=errors)


def conclude(
    storage: Storage,
    stores: Mapping[str, ScoreStore],
    *,
    space: str,
    positions: IntArray,
    seeds: Sequence[int],
    asked: str,
    accuracies: Accuracies | None,
    bootstrap: BootstrapConfig,
    run: Callable[[], Mapping[str, Any]],
) -> dict[str, Any]:
    """Say what the scores say, and write the run directory's files.

    Args:
        storage: The run directory.
        stores: Proxy -> its records.
        space: Name of the space.
        positions: Of the architectures asked for.
        seeds: Asked for.
        asked: ``--architectures``.
        accuracies: Of those architectures, or None.
        bootstrap: Of the correlations' intervals.
        run: Gives what to say of this run itself, last of all.

    Raises:
        StorageError: If the files cannot be written; the scores are stored.
    """
    total = get_ranked_space(space).num_architectures
    scores = []
    for proxy, store in stores.items():
        if store.num_parts > _MAX_PARTS:
            store.compact()
        scores.append(
            gather(proxy, store.read(), num_architectures=total, positions=positions, seeds=seeds)
        )
    names = [get_ranked_space(space).architecture(p).to_string() for p in positions.tolist()]
    result = {
        "schema": RANKING_SCHEMA,
        "space": space,
        "architectures": {
            "asked": asked,
            "num": len(positions),
            "num_distinct_in_space": len(distinct_positions(space)),
        },
        "seeds": list(seeds),
        **_accuracy_fields(accuracies),
        **_proxy_fields(scores, accuracies, names, bootstrap),
        "settings": (read_identity(storage) or ({}, {}))[0],
        "versions": versions(),
        **run(),
    }
    _write(storage, result, scores, positions, accuracies)
    return result


def _choose(table: TabularBenchmark, metric: str | None) -> Metric:
    if metric is not None:
        if metric not in table.metrics:
            raise UnknownNameError(f"metric of {table.name}", metric, list(table.metrics))
        return table.metrics[metric]
    if len(table.metrics) == 1:
        return next(iter(table.metrics.values()))
    has = "; ".join(m.describe() for m in table.metrics.values()) or "no accuracies"
    raise DataError(f"{table.name} has {has}; choose with --metric")


def _accuracy_fields(accuracies: Accuracies | None) -> dict[str, Any]:
    if accuracies is None:
        return {"table": None, "metric": None}
    return {"table": accuracies.table, "metric": asdict(accuracies.metric)}


def _proxy_fields(
    scores: Sequence[ProxyScores],
    accuracies: Accuracies | None,
    names: Sequence[str],
    bootstrap: BootstrapConfig,
) -> dict[str, Any]:
    errors = None if accuracies is None else accuracies.error_percent
    entries = [summarise_proxy(s, get_proxy(s.proxy), errors, bootstrap) for s in scores]
    for entry in entries:
        best = entry.get("best")
        if best is not None:
            entry["best"] = {"architecture": names[best.pop("column")], **best}
    return {"bootstrap": asdict(bootstrap), "proxies": entries, "warnings": warnings_of(entries)}


def _write(
    storage: Storage,
    result: dict[str, Any],
    scores: Sequence[ProxyScores],
    positions: IntArray,
    accuracies: Accuracies | None,
) -> None:
    errors = None if accuracies is None else accuracies.error_percent
    files = {
        "scores.csv": scores_csv(result["space"], positions, scores, errors),
        "ranking.md": ranking_markdown(result).encode(),
        "ranking.json": to_json(result),
    }
    if errors is not None:
        files |= save_ranking_plots(result, scores, errors)
    try:
        for name, data in files.items():
            storage.write(name, data)
    except StorageError as error:
        raise StorageError(
            f"{error}; the scores are stored, and the same command answers from them"
        ) from error
