"""Scores by proxy, seed and architecture: the records as arrays. Quick to import."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.ranking.settings import SIZE_PROXIES
from nasi_ray.records import RecordStore, ScoreRows
from nasi_ray.records.reader import identity_of
from nasi_ray.records.rows import ScoreTable
from nasi_ray.run.listed import restore_list
from nasi_ray.spaces import TabularArchitecture, get_tabular_space
from nasi_ray.storage import open_storage

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProxyScores:
    """One proxy's scores of the architectures asked for."""

    proxy: str
    """Its name."""
    seeds: tuple[int, ...]
    """Rows of ``scores``; seed 0 alone for a proxy that depends on none."""
    scores: FloatArray
    """shape (seeds, architectures); NaN where missing"""
    num_failed: int
    """Number of scores that cannot exist: the proxy is not defined there."""
    num_lost: int
    """Number of scores that no attempt completed; they are tried again."""
    num_absent: int
    """Number of scores that were never evaluated."""
    reasons: Mapping[str, int]
    """Reason why scores failed or were lost -> count; the most frequent first."""
    seconds: FloatArray
    """Wall time of every recorded evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RunScores:
    """All scores of a run."""

    space: str
    """Name of the space."""
    positions: IntArray
    """Positions in the space's enumeration, shape (architectures,), ascending."""
    by_proxy: Mapping[str, ProxyScores]
    """Proxy -> its scores of those architectures."""

    def __repr__(self) -> str:
        return f"RunScores({self.space!r}, {len(self.positions)} architectures)"

    def to_pandas(self) -> pandas.DataFrame:
        """A row per architecture: its fields, and the mean over seeds of every proxy's score."""
        import pandas  # takes a second to import

        columns = {name: found.scores.mean(axis=0) for name, found in self.by_proxy.items()}
        named = pandas.DataFrame([text_fields(a) for a in self.architectures()])
        return named.assign(**columns)

    def architectures(self) -> list[TabularArchitecture]:
        """The architectures, in the order of the columns of ``scores``."""
        space = get_tabular_space(self.space)
        return [space.architecture(position) for position in self.positions.tolist()]


def text_fields(architecture: TabularArchitecture) -> dict[str, Any]:
    """An architecture's fields for tables: a field that is a structure is JSON text."""
    return {
        key: json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else value
        for key, value in architecture.fields().items()
    }


def record_indices(
    proxy: str, num_architectures: int, positions: IntArray, seeds: Sequence[int]
) -> IntArray:
    """Indices of a proxy's records, seed by seed, shape (seeds · architectures,).

    Args:
        proxy: Its name.
        num_architectures: Of the whole space.
        positions: Architectures asked for, shape (architectures,).
        seeds: Seeds asked for.
    """
    rows = np.asarray(seeds_of(proxy, seeds), dtype=np.int64)
    return (rows[:, None] * num_architectures + positions[None]).reshape(-1)


def seeds_of(proxy: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds at which a proxy is evaluated: those asked for, or 0 if seeds do not matter."""
    return (0,) if proxy in SIZE_PROXIES else tuple(seeds)


def gather(
    proxy: str,
    table: ScoreTable,
    *,
    num_architectures: int,
    positions: IntArray,
    seeds: Sequence[int],
) -> ProxyScores:
    """Arrange a proxy's records by seed and architecture.

    Args:
        proxy: Its name.
        table: Its records; those of other architectures and seeds are ignored.
        num_architectures: Of the whole space.
        positions: Architectures asked for, shape (architectures,), ascending.
        seeds: Seeds asked for.
    """
    wanted = record_indices(proxy, num_architectures, positions, seeds)
    rows = np.searchsorted(table.index, wanted)
    is_there = np.zeros(len(wanted), dtype=np.bool_)
    inside = rows < len(table)
    is_there[inside] = table.index[rows[inside]] == wanted[inside]
    found = rows[is_there]
    scores = np.full(len(wanted), np.nan)
    scores[is_there] = table.score[found]
    bad = found[~table.ok[found]]
    num_lost = int(table.lost[bad].sum())
    reasons = Counter(table.errors[index] for index in table.index[bad].tolist())
    own_seeds = seeds_of(proxy, seeds)
    return ProxyScores(
        proxy=proxy,
        seeds=own_seeds,
        scores=scores.reshape(len(own_seeds), len(positions)),
        num_failed=len(bad) - num_lost,
        num_lost=num_lost,
        num_absent=int((~is_there).sum()),
        reasons=dict(reasons.most_common()),
        seconds=table.seconds[found],
    )


def read_scores(uri: str) -> RunScores:
    """Read all scores of a ranking, also while one is running.

    Args:
        uri: Run directory, a path or ``s3://bucket/prefix``.

    Returns:
        Scores of every proxy, seed and architecture with a record.

    Raises:
        RecordConflictError: If the directory does not hold a ranking.
        RecordCorruptError: If a record file is torn or was altered.
        StorageError: If the storage fails.
    """
    storage = open_storage(uri)
    identity, _ = identity_of(storage, "scores")
    name = str(identity["space"])
    restore_list(storage, name)
    total = get_tabular_space(name).num_architectures
    proxies = sorted({path.split("/")[1] for path in storage.list("scores/") if "/part-" in path})
    tables = {
        proxy: RecordStore.open(storage, identity=identity, rows=ScoreRows(proxy)).read()
        for proxy in proxies
    }
    index = np.unique(np.concatenate([np.empty(0, np.int64), *(t.index for t in tables.values())]))
    positions, seeds = np.unique(index % total), np.unique(index // total).tolist()
    return RunScores(
        space=name,
        positions=positions,
        by_proxy={
            proxy: gather(proxy, table, num_architectures=total, positions=positions, seeds=seeds)
            for proxy, table in tables.items()
        },
    )
