"""The end of a ranking: the files of the run directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import StorageError
from nasi_ray.proxies import get_proxy
from nasi_ray.ranking.architectures import distinct_positions, get_ranked_space
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
from nasi_ray.storage import Storage
from nasi_ray.tables.accuracies import Accuracies

ScoreStore = RecordStore[ProxyScore, ScoreTable]

_MAX_PARTS = 100


def conclude(
    storage: Storage,
    stores: Mapping[str, ScoreStore],
    *,
    space: str,
    positions: IntArray,
    seeds: Sequence[int],
    asked: str,
    accuracies: Accuracies | None,
    error_percent: FloatArray | None,
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
        accuracies: The table, or None.
        error_percent: Of those architectures, shape (architectures,), or None.
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
        **_proxy_fields(scores, error_percent, names, bootstrap),
        "settings": (read_identity(storage) or ({}, {}))[0],
        "versions": versions(),
        **run(),
    }
    _write(storage, result, scores, positions, error_percent)
    return result


def _accuracy_fields(accuracies: Accuracies | None) -> dict[str, Any]:
    if accuracies is None:
        return {"table": None, "metric": None}
    return {"table": accuracies.benchmark.name, "metric": asdict(accuracies.metric)}


def _proxy_fields(
    scores: Sequence[ProxyScores],
    error_percent: FloatArray | None,
    names: Sequence[str],
    bootstrap: BootstrapConfig,
) -> dict[str, Any]:
    entries = [summarise_proxy(s, get_proxy(s.proxy), error_percent, bootstrap) for s in scores]
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
    error_percent: FloatArray | None,
) -> None:
    files = {
        "scores.csv": scores_csv(result["space"], positions, scores, error_percent),
        "ranking.md": ranking_markdown(result).encode(),
        "ranking.json": to_json(result),
    }
    if error_percent is not None:
        files |= save_ranking_plots(result, scores, error_percent)
    try:
        for name, data in files.items():
            storage.write(name, data)
    except StorageError as error:
        raise StorageError(
            f"{error}; the scores are stored, and the same command answers from them"
        ) from error
