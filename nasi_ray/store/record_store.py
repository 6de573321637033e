"""The samples of a run: immutable parts that are only ever added or merged."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from nasi_ray.errors import RecordCorruptError, StorageError
from nasi_ray.records import IntArray, Sample, SampleTable
from nasi_ray.storage import Storage
from nasi_ray.store import parts
from nasi_ray.store.identity import IdentityValue, establish, fingerprint

_LOG = logging.getLogger(__name__)
_MAX_TRIES = 5

T = TypeVar("T")


class RecordStore:
    """Every sample of a run. What was appended is durable; nothing is ever changed in place.

    A file below ``samples/`` that is not named like a part is left alone, with a warning.
    """

    def __init__(self, storage: Storage, *, fingerprint: str, num_logits: int) -> None:
        """For ``open`` alone: it makes sure that the run is one of these settings."""
        self._storage = storage
        self._fingerprint = fingerprint
        self._num_logits = num_logits
        self._next_number: int | None = None
        self._index_of_part: dict[str, IntArray] = {}
        self._foreign: set[str] = set()

    @classmethod
    def open(
        cls, storage: Storage, *, identity: Mapping[str, IdentityValue], num_logits: int
    ) -> RecordStore:
        """Open the records of a run, or begin them.

        Args:
            storage: The run directory.
            identity: All that makes a sample what it is, by name.
            num_logits: Length of every sample's gradient (≥ 1).

        Raises:
            RecordConflictError: If the run holds samples of other settings; names each difference.
            RecordCorruptError: If the run's identity cannot be read.
            StorageError: If the storage fails.
        """
        if num_logits < 1:
            raise ValueError(f"num_logits is {num_logits}; at least 1 is allowed")
        store = cls(storage, fingerprint=fingerprint(identity), num_logits=num_logits)
        establish(storage, identity, num_logits)
        return store

    @property
    def num_parts(self) -> int:
        """Parts there are now; reading slows down with thousands (see ``compact``)."""
        return len(self._part_names())

    def append(self, samples: Sequence[Sample]) -> None:
        """Store samples as one part; durable on return, all or nothing.

        Repeating an append that failed does no harm, whether or not it went through.

        Raises:
            ValueError: If a sample contradicts itself (see ``Sample``); nothing is stored.
            StorageError: If the write failed.
            RunLockedError: If this driver lost the run to another.
        """
        if samples:
            self._add_part(
                parts.table_of(samples, num_logits=self._num_logits, fingerprint=self._fingerprint)
            )

    def read(self) -> SampleTable:
        """All samples; of an index stored twice (equal to the bit) the first is kept.

        Raises:
            RecordCorruptError: If a part is torn or altered, or two disagree about an index.
            RecordConflictError: If a part holds samples of other settings.
            StorageError: If the storage fails.
        """
        table, rows, _ = self._load()
        return parts.sample_table(table, rows)

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Those of ``indices`` that have no sample yet, in their order.

        A failed sample is one; a lost one is not, so that it is tried again.

        Raises:
            RecordCorruptError: If a part is torn or altered.
            RecordConflictError: If a part holds samples of other settings.
            StorageError: If the storage fails.
        """
        _, stored = self._of_every_part(self._load_index)
        asked = np.asarray(indices, dtype=np.int64)
        is_stored = np.isin(asked, np.concatenate([np.empty(0, dtype=np.int64), *stored]))
        missing: list[int] = asked[~is_stored].tolist()
        return missing

    def compact(self) -> None:
        """Merge all parts into one.

        The new part is written before the old ones go, so a crash in between leaves samples
        stored twice, which ``read`` accepts.

        Raises:
            RecordCorruptError: If a part is torn or altered; nothing is deleted.
            RecordConflictError: If a part holds samples of other settings; nothing is deleted.
            StorageError: If the storage fails.
        """
        table, rows, names = self._load()
        if len(names) < 2:
            return
        is_in_order = np.array_equal(rows, np.arange(len(table)))
        self._add_part(table if is_in_order else table.take(pa.array(rows)))
        for name in names:
            self._storage.delete(name)
            self._index_of_part.pop(name, None)

    def _add_part(self, table: pa.Table) -> None:
        if self._next_number is None:
            numbers = [parts.part_number(name) or 0 for name in self._part_names()]
            self._next_number = max(numbers, default=0) + 1
        data = parts.to_bytes(table)
        name = parts.part_name(self._next_number, data)
        # A name that is taken has this very content: the name carries its digest.
        self._storage.create(name, data)
        self._next_number += 1
        self._index_of_part[name] = _settled(table)

    def _part_names(self) -> list[str]:
        names = []
        for name in self._storage.list(parts.PARTS):
            if parts.part_number(name) is not None:
                names.append(name)
            elif name not in self._foreign:
                self._foreign.add(name)
                _LOG.warning("%s/%s is no record file; left alone", self._storage.uri, name)
        return names

    def _load(self) -> tuple[pa.Table, IntArray, list[str]]:
        """All rows in order of the parts, which of them to keep by index, and the parts."""
        names, tables = self._of_every_part(self._load_part)
        empty = parts.table_of([], num_logits=self._num_logits, fingerprint=self._fingerprint)
        table = pa.concat_tables([empty, *tables])
        index = parts.index_of(table)
        rows, pairs = parts.rows_to_keep(table)
        if difference := parts.first_difference(table, pairs):
            ends = list(itertools.accumulate(len(t) for t in tables))
            one, other = (names[int(np.searchsorted(ends, r, "right"))] for r in difference)
            raise RecordCorruptError(
                f"{self._storage.uri} has two different samples {index[difference[0]]}, in {one} "
                f"and {other}; delete one of the two to have its samples evaluated again"
            )
        return table, rows, names

    def _of_every_part(self, load: Callable[[str], T]) -> tuple[list[str], list[T]]:
        for _ in range(_MAX_TRIES):
            names = self._part_names()
            try:
                return names, [load(name) for name in names]
            except FileNotFoundError:  # another driver merges parts just now
                continue
        raise StorageError(
            f"parts of {self._storage.uri}/{parts.PARTS} go while they are read; try again"
        )

    def _load_part(self, name: str, columns: list[str] | None = None) -> pa.Table:
        table = parts.from_bytes(
            self._storage.read(name),
            name=name,
            uri=self._storage.uri,
            num_logits=self._num_logits,
            fingerprint=self._fingerprint,
            columns=columns,
        )
        self._index_of_part[name] = _settled(table)
        return table

    def _load_index(self, name: str) -> IntArray:
        if name not in self._index_of_part:
            self._load_part(name, columns=["index", "status"])
        return self._index_of_part[name]


def _settled(table: pa.Table) -> IntArray:
    index: IntArray = parts.index_of(table)[~parts.is_lost(table)]
    return index
