"""The records of a run: immutable parts that are only added or merged."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from nasi_ray.arrays import IntArray
from nasi_ray.errors import RecordCorruptError, StorageError
from nasi_ray.records import parts
from nasi_ray.records.format import Row, RowFormat, index_of
from nasi_ray.records.identity import IdentityValue, establish, fingerprint
from nasi_ray.storage import Storage

_LOG = logging.getLogger(__name__)
_MAX_TRIES = 5

L = TypeVar("L")
R = TypeVar("R", bound=Row)
T = TypeVar("T")


class RecordStore(Generic[R, T]):
    """Every record of a run, or of one folder of it: rows R, read as a table T.

    Appended records are durable; nothing is changed in place. A file in the folder whose name is
    not that of a part is left alone, with a warning.
    """

    def __init__(self, storage: Storage, *, fingerprint: str, rows: RowFormat[R, T]) -> None:
        """For ``open`` only, which checks that the run has these settings."""
        self._storage = storage
        self._fingerprint = fingerprint
        self._rows = rows
        self._next_number: int | None = None
        self._index_of_part: dict[str, IntArray] = {}
        self._foreign: set[str] = set()

    @classmethod
    def open(
        cls, storage: Storage, *, identity: Mapping[str, IdentityValue], rows: RowFormat[R, T]
    ) -> RecordStore[R, T]:
        """Open the records of a run, or create them.

        Args:
            storage: The run directory.
            identity: Everything that determines a record, by name.
            rows: The records' format.

        Raises:
            RecordConflictError: If the run holds records with other settings or of another kind;
                names each difference.
            RecordCorruptError: If the run's identity cannot be read.
            StorageError: If the storage fails.
        """
        store = cls(storage, fingerprint=fingerprint({**identity, **rows.partition}), rows=rows)
        establish(storage, identity, rows)
        return store

    @property
    def label(self) -> str:
        """What messages call a record; its plural ends in s."""
        return self._rows.label

    @property
    def num_parts(self) -> int:
        """Number of parts now; reading slows down with thousands (see ``compact``)."""
        return len(self._part_names())

    def append(self, rows: Sequence[R]) -> None:
        """Store records as one part; durable on return, all or nothing.

        Repeating an append that failed does no harm, whether or not it went through.

        Raises:
            ValueError: If a record contradicts itself; nothing is stored.
            StorageError: If the write failed.
            RunLockedError: If this driver lost the run to another.
        """
        if rows:
            self._add_part(parts.table_of(rows, self._rows, fingerprint=self._fingerprint))

    def read(self) -> T:
        """All records; if an index is stored twice (bit-identical), the first is kept.

        Raises:
            RecordCorruptError: If a part is torn or altered, or two disagree about an index.
            RecordConflictError: If a part holds records of other settings.
            StorageError: If the storage fails.
        """
        table, rows, _ = self._load()
        read = self._rows.read(table, rows)
        del table
        # Otherwise Arrow keeps freed memory: a gigabyte for a million samples.
        pa.default_memory_pool().release_unused()
        return read

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Those of ``indices`` that have no record yet, in their order.

        A failed record counts as a record; a lost one does not, so that it is tried again.

        Raises:
            RecordCorruptError: If a part is torn or altered.
            RecordConflictError: If a part holds records of other settings.
            StorageError: If the storage fails.
        """
        _, stored = self._of_every_part(self._load_index)
        asked = np.asarray(indices, dtype=np.int64)
        is_stored = np.isin(asked, np.concatenate([np.empty(0, dtype=np.int64), *stored]))
        missing: list[int] = asked[~is_stored].tolist()
        return missing

    def compact(self) -> None:
        """Merge all parts into one.

        The new part is written before the old ones go, so a crash in between leaves records
        stored twice, which ``read`` accepts.

        Raises:
            RecordCorruptError: If a part is torn or altered; nothing is deleted.
            RecordConflictError: If a part holds records of other settings; nothing is deleted.
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
            numbers = [self._number(name) or 0 for name in self._part_names()]
            self._next_number = max(numbers, default=0) + 1
        data = parts.to_bytes(table, self._rows)
        name = parts.part_name(self._rows.folder, self._next_number, data)
        # A name that is taken has this very content, as an append that is repeated finds it.
        if not self._storage.create(name, data) and self._storage.read(name) != data:
            raise RecordCorruptError(
                f"{self._storage.uri}/{name} is torn or was altered (wrong checksum); delete it"
            )
        self._next_number += 1
        self._index_of_part[name] = _settled(table)

    def _number(self, name: str) -> int | None:
        return parts.part_number(self._rows.folder, name)

    def _part_names(self) -> list[str]:
        names = []
        for name in self._storage.list(self._rows.folder):
            if self._number(name) is not None:
                names.append(name)
            elif name not in self._foreign:
                self._foreign.add(name)
                _LOG.warning("%s/%s is no record file; left alone", self._storage.uri, name)
        return names

    def _load(self) -> tuple[pa.Table, IntArray, list[str]]:
        """All rows in order of the parts, which of them to keep by index, and the parts."""
        names, tables = self._of_every_part(self._load_part)
        empty = parts.table_of([], self._rows, fingerprint=self._fingerprint)
        table = pa.concat_tables([empty, *tables])
        index = index_of(table)
        rows, pairs = parts.rows_to_keep(table)
        if difference := parts.first_difference(table, self._rows, pairs):
            ends = list(itertools.accumulate(len(t) for t in tables))
            one, other = (names[int(np.searchsorted(ends, r, "right"))] for r in difference)
            raise RecordCorruptError(
                f"{self._storage.uri} has two different {self.label}s {index[difference[0]]}, in "
                f"{one} and {other}; delete one of the two to have its {self.label}s evaluated "
                "again"
            )
        return table, rows, names

    def _of_every_part(self, load: Callable[[str], L]) -> tuple[list[str], list[L]]:
        for _ in range(_MAX_TRIES):
            names = self._part_names()
            try:
                return names, [load(name) for name in names]
            except FileNotFoundError:  # another driver is merging parts
                continue
        raise StorageError(
            f"parts of {self._storage.uri}/{self._rows.folder} disappear while they are read: "
            "another driver merges them; try again"
        )

    def _load_part(self, name: str, columns: list[str] | None = None) -> pa.Table:
        table = parts.from_bytes(
            self._storage.read(name),
            self._rows,
            name=name,
            uri=self._storage.uri,
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
    index: IntArray = index_of(table)[~parts.is_lost(table)]
    return index
