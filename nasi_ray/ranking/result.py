"""The result of a ranking, and its files in the run directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.proxies import get_proxy
from nasi_ray.ranking.architectures import Selection, distinct_positions
from nasi_ray.ranking.plot import save_ranking_plots
from nasi_ray.ranking.scores import ProxyScores, RunScores, gather
from nasi_ray.ranking.scores_csv import scores_csv
from nasi_ray.ranking.summary import (
    BootstrapConfig,
    summarise_proxy,
    warnings_of,
)
from nasi_ray.ranking.text import ranking_markdown
from nasi_ray.records import RecordStore, read_identity
from nasi_ray.records.rows import ProxyScore, ScoreTable
from nasi_ray.run.finish import answer_name, to_json, write_results
from nasi_ray.run.provenance import versions
from nasi_ray.run.schemas import RANKING_SCHEMA
from nasi_ray.spaces import get_tabular_space
from nasi_ray.statistics import mean_over_seeds
from nasi_ray.storage import Storage
from nasi_ray.tables.accuracies import Accuracies

if TYPE_CHECKING:
    import pandas

ScoreStore = RecordStore[ProxyScore, ScoreTable]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RankingResult:
    """A finished ranking."""

    content: Mapping[str, Any]
    """The content of ``ranking.json`` (``docs/ranking.md``)."""
    uri: str
    """The run directory: an absolute path or ``s3://bucket/prefix``."""
    scores: RunScores
    """Every score asked for."""

    def __repr__(self) -> str:
        num = len(self.scores.positions)
        names = ", ".join(self.scores.by_proxy)
        return f"RankingResult({self.scores.space!r}, {num} architectures, {names}, {self.uri!r})"

    @property
    def num_lost(self) -> int:
        """Scores that no attempt completed; the same ranking tries them again."""
        return sum(proxy["num_lost"] for proxy in self.content["proxies"])

    def to_dict(self) -> dict[str, Any]:
        """The content of ``ranking.json``."""
        return dict(self.content)

    def to_pandas(self) -> pandas.DataFrame:
        """Scores, a row per architecture; see ``RunScores.to_pandas``."""
        return self.scores.to_pandas()


def conclude(
    storage: Storage,
    stores: Mapping[str, ScoreStore],
    *,
    space: str,
    selection: Selection,
    seeds: Sequence[int],
    asked: str,
    accuracies: Accuracies | None,
    error_percent: FloatArray | None,
    bootstrap: BootstrapConfig,
    run: Callable[[], Mapping[str, Any]],
) -> RankingResult:
    """Summarise the scores, and write the run directory's files.

    Args:
        storage: The run directory.
        stores: Proxy -> its records.
        space: Name of the space.
        selection: The architectures.
        seeds: Seeds of the scores.
        asked: ``--architectures``.
        accuracies: The table, or None.
        error_percent: Test errors of the architectures, shape (architectures,), or None.
        bootstrap: Settings of the correlations' intervals.
        run: Returns the fields about this command; called last.

    Raises:
        StorageError: If the files cannot be written; the scores are stored.
    """
    positions = selection.positions
    scores = _gathered(stores, space, positions, seeds)
    names = [_name(space, position, selection) for position in positions.tolist()]
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
    by_proxy = {found.proxy: found for found in scores}
    ranking = RankingResult(
        content=result,
        uri=storage.uri,
        scores=RunScores(space=space, positions=positions, by_proxy=by_proxy),
    )
    _write(storage, ranking, scores, selection, error_percent)
    return ranking


def _gathered(
    stores: Mapping[str, ScoreStore], space: str, positions: IntArray, seeds: Sequence[int]
) -> list[ProxyScores]:
    total, scores = get_tabular_space(space).num_architectures, []
    for proxy, store in stores.items():
        store.compact_many()
        scores.append(
            gather(proxy, store.read(), num_architectures=total, positions=positions, seeds=seeds)
        )
    return scores


def _name(space: str, position: int, selection: Selection) -> str:
    """As the user's file writes it, else the space's own string."""
    given = selection.given.get(position)
    return given[0] if given else get_tabular_space(space).architecture(position).to_string()


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
    sizes = [mean_over_seeds(s.scores) for s in scores if s.proxy == "num_params"]
    size = sizes[0] if sizes else None
    entries = [
        summarise_proxy(s, get_proxy(s.proxy), error_percent, bootstrap, size=size) for s in scores
    ]
    for entry in entries:
        best = entry.get("best")
        if best is not None:
            entry["best"] = {"architecture": names[best.pop("column")], **best}
        for end in ("highest_ranked", "lowest_ranked"):
            entry[end] = [{"architecture": names[row.pop("column")], **row} for row in entry[end]]
    return {"bootstrap": asdict(bootstrap), "proxies": entries, "warnings": warnings_of(entries)}


def _write(
    storage: Storage,
    ranking: RankingResult,
    scores: Sequence[ProxyScores],
    selection: Selection,
    error_percent: FloatArray | None,
) -> None:
    result = ranking.content
    table = scores_csv(result["space"], selection.positions, scores, error_percent, selection.given)
    files = {
        "scores.csv": table,
        "ranking.md": ranking_markdown(result).encode(),
        "ranking.json": to_json(result),
    }
    if error_percent is not None:
        files |= save_ranking_plots(result, scores, error_percent)
    asked = {key: result[key] for key in ("architectures", "seeds", "metric", "bootstrap")}
    asked["proxies"] = [entry["name"] for entry in result["proxies"]]
    # The same number of architectures may be others.
    asked["positions"] = hashlib.sha256(
        np.asarray(selection.positions, "<i8").tobytes()
    ).hexdigest()
    asked["table"] = result["table"]
    files[answer_name(asked)] = files["ranking.json"]
    write_results(storage, files, label="scores", result=ranking)
