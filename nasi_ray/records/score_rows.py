"""The records of a ranking: one proxy's scores of architectures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasi_ray.arrays import IntArray
from nasi_ray.records.format import (
    Range,
    RowFormat,
    are_ok,
    common_arrays,
    common_columns,
    index_of,
    numbers,
    ok_of,
    reasons,
)
from nasi_ray.records.rows import ProxyScore, ScoreTable

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ScoreRows:
    """``ProxyScore``s of one proxy, below ``scores/<proxy>/``."""

    proxy: str
    """Name of the proxy."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.proxy):
            raise ValueError(f"proxy is {self.proxy!r}; letters, digits, - and _ are allowed")

    @property
    def label(self) -> str:
        """See ``RowFormat``."""
        return "score"

    @property
    def kind(self) -> str:
        """See ``RowFormat``."""
        return "scores"

    @property
    def folder(self) -> str:
        """See ``RowFormat``."""
        return f"scores/{self.proxy}/"

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """See ``RowFormat``."""
        return {"rows": self.kind}

    @property
    def partition(self) -> Mapping[str, str]:
        """The proxy: one's part in the folder of another is found out."""
        return {"proxy": self.proxy}

    @property
    def schema(self) -> pa.Schema:
        """See ``RowFormat``."""
        columns = common_columns()
        # In this order, so that parts stay as they were.
        first = {name: columns.pop(name) for name in ("index", "status")}
        return pa.schema({**first, "score": pa.float64(), **columns})

    @property
    def encoding(self) -> Mapping[str, Any]:
        """See ``RowFormat``."""
        return {"use_dictionary": ["status", "error", "worker"]}

    def arrays(self, rows: Sequence[ProxyScore]) -> dict[str, pa.Array]:
        """See ``RowFormat``."""
        score = np.array([row.score for row in rows], dtype=np.float64)
        return {**common_arrays(rows), "score": pa.array(score, pa.float64(), mask=~are_ok(rows))}

    @property
    def ranges(self) -> Mapping[str, Range]:
        """See ``RowFormat``."""
        largest = float(np.finfo(np.float64).max)
        return {"score": Range(-largest, largest, only_ok=True)}

    def bit_patterns(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Those of the score."""
        return numbers(table, "score").reshape(-1, 1).view(np.int64)

    def read(self, table: pa.Table, rows: IntArray) -> ScoreTable:
        """See ``RowFormat``."""
        status = table["status"]
        ok = ok_of(table)[rows]
        return ScoreTable(
            index=index_of(table)[rows],
            ok=ok,
            lost=pc.equal(status, "lost").to_numpy()[rows],
            score=numbers(table, "score")[rows],
            errors=reasons(table, rows[~ok]),
            seconds=numbers(table, "seconds")[rows],
        )


if TYPE_CHECKING:
    _: RowFormat[ProxyScore, ScoreTable] = ScoreRows("naswot")
