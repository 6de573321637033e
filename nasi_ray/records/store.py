"""The records of a run: immutable parts that are only added or merged."""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from nasi_ray.arrays import IntArray
from nasi_ray.errors import RecordConflictError, RecordCorruptError, StorageError
from nasi_ray.records import parts
from nasi_ray.records.format import Row, RowFormat, index_of
from nasi_ray.records.identity import IdentityValue, establish, fingerprint
from nasi_ray.storage import MAX_CALLS, Storage

_LOG = logging.getLogger(__name__)
_MAX_TRIES = 5
# ``compact`` is worth its time above so many parts.
_MAX_PARTS = 100
# ``merge_small``: parts with fewer records are small, and so many of a size are merged at once.
_FULL, _MAX_SMALL = 4096, 16
# Bounds what one merge reads, for a run that was recorded without merging.
_MERGE_PARTS, _MERGE_ROWS = 256, 65_536

L = TypeVar("L")
R = TypeVar("R", bound=Row)
T = TypeVar("T")


class _Part(NamedTuple):
    """What is kept in memory of a part."""

    settled: IntArray
    """Indices of its records that are not lost."""
    num_rows: int
    table: pa.Table | None = None
    """Of a small part that this store wrote, so that a merge need not read it."""


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
        self._known: dict[str, _Part] = {}
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
            RecordConflictError: If the run holds records with other settings or of another kind
                (names each difference), or records whose settings are not known.
            RecordCorruptError: If the run's identity cannot be read.
            StorageError: If the storage fails.
        """
        store = cls(storage, fingerprint=fingerprint({**identity, **rows.partition}), rows=rows)
        establish(storage, identity, rows, store._has_own)
        return store

    def _has_own(self) -> bool:
        """Whether the first part, if there is one, was made with these settings."""
        for name in self._part_names()[:1]:
            with suppress(FileNotFoundError, RecordConflictError):
                self._load_settled(name)
                return True
        return False

    @property
    def label(self) -> str:
        """What messages call a record; its plural ends in s."""
        return self._rows.label

    @property
    def uri(self) -> str:
        """Where the run is."""
        return self._storage.uri

    @property
    def num_parts(self) -> int:
        """Number of parts now."""
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
        _, stored = self._of_every_part(self._load_settled)
        asked = np.asarray(indices, dtype=np.int64)
        is_stored = np.isin(asked, np.concatenate([np.empty(0, dtype=np.int64), *stored]))
        missing: list[int] = asked[~is_stored].tolist()
        return missing

    def compact(self) -> None:
        """Merge all parts into one; see ``_merge`` for what a crash leaves.

        Raises:
            RecordCorruptError: If a part is torn or altered; nothing is deleted.
            RecordConflictError: If a part holds records of other settings; nothing is deleted.
            StorageError: If the storage fails.
        """
        self._merge(*self._load())

    def compact_many(self) -> None:
        """Merge all parts if there are more than a hundred, so that reading stays fast.

        Raises:
            NasiRayError: As ``compact``.
        """
        if self.num_parts > _MAX_PARTS:
            self.compact()

    def merge_small(self) -> None:
        """Merge parts of a like size once there are 16; to be called after each append.

        Sizes are alike below 16 records, below 256 and below 4096. So, but for kills and records
        that are stored twice, there are never more than 48 parts of fewer than 4096 records,
        however slowly they come, and each record is written at most four times. Nothing happens if
        another driver merges at the same time.

        Raises:
            NasiRayError: As ``compact``.
        """
        if not any(len(names) >= _MAX_SMALL for names in self._small(self._known)):
            return
        there = self._part_names()
        for name in self._known.keys() - set(there):
            del self._known[name]
        for small in self._small(there):
            if len(small) < _MAX_SMALL:
                continue
            names = small[:_MERGE_PARTS]
            ends = itertools.accumulate(self._known[name].num_rows for name in names)
            names = [name for name, end in zip(names, ends, strict=True) if end <= _MERGE_ROWS]
            with suppress(FileNotFoundError):
                self._merge(*self._joined(names, self._small_tables(names)))

    def _small(self, names: Iterable[str]) -> list[list[str]]:
        """Those that are known and small, by their size: below 16 records, below 256, ..."""
        sizes: dict[int, list[str]] = defaultdict(list)
        for name in names:
            part = self._known.get(name)
            if part is not None and part.num_rows < _FULL:
                sizes[_magnitude(part.num_rows)].append(name)
        return list(sizes.values())

    def _small_tables(self, names: Sequence[str]) -> list[pa.Table]:
        read = [name for name in names if self._known[name].table is None]
        tables = dict(zip(read, _in_threads(self._load_part, read), strict=True))
        return [tables[name] if name in tables else self._known[name].table for name in names]

    def _merge(self, table: pa.Table, rows: IntArray, names: Sequence[str]) -> None:
        """Put parts together.

        The new part is written, and read again, before the old ones go: a crash in between leaves
        records stored twice, which ``read`` accepts.
        """
        if len(names) < 2:
            return
        is_in_order = np.array_equal(rows, np.arange(len(table)))
        merged = self._add_part(table if is_in_order else table.take(pa.array(rows)))
        try:
            data = self._storage.read(merged)
        except FileNotFoundError:
            raise StorageError(
                f"{self._storage.uri}/{merged} was written but is missing now; the parts that it "
                "merges are kept: try again, or use another storage"
            ) from None
        parts.check_digest(data, self._rows, name=merged, uri=self._storage.uri)
        old = [name for name in names if name != merged]
        self._storage.delete(*old)
        for name in old:
            self._known.pop(name, None)

    def _add_part(self, table: pa.Table) -> str:
        if self._next_number is None:
            numbers = [self._number(name) or 0 for name in self._part_names()]
            self._next_number = max(numbers, default=0) + 1
        data = parts.to_bytes(table, self._rows)
        name = parts.part_name(self._rows.folder, self._next_number, data)
        # A name that is taken has this very content, as an append that is repeated finds it.
        if not self._storage.create(name, data) and self._storage.read(name) != data:
            raise RecordCorruptError(
                f"{self._storage.uri}/{name} is incomplete or was changed (wrong checksum); delete "
                "it"
            )
        self._next_number += 1
        part = _part_of(table)
        is_small = len(table) < _MAX_SMALL**2
        self._known[name] = part._replace(table=table) if is_small else part
        return name

    def _number(self, name: str) -> int | None:
        return parts.part_number(self._rows.folder, name)

    def _part_names(self) -> list[str]:
        names = []
        for name in self._storage.list(self._rows.folder):
            if self._number(name) is not None:
                names.append(name)
            elif name not in self._foreign:
                self._foreign.add(name)
                _LOG.warning("%s/%s is not a record file; ignored", self._storage.uri, name)
        return names

    def _load(self) -> tuple[pa.Table, IntArray, list[str]]:
        """All rows in order of the parts, which of them to keep by index, and the parts."""
        names, tables = self._of_every_part(self._load_part)
        return self._joined(names, tables)

    def _joined(
        self, names: list[str], tables: list[pa.Table]
    ) -> tuple[pa.Table, IntArray, list[str]]:
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
                return names, _in_threads(load, names)
            except FileNotFoundError as error:
                gone = str(error)
        # Another driver merges parts, or the storage lists what it does not hold.
        raise StorageError(
            f"{gone}, though it is listed; if another driver works on this run, wait for it, else "
            f"delete that file to have its {self.label}s evaluated again"
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
        self._known[name] = _part_of(table)
        return table

    def _load_settled(self, name: str) -> IntArray:
        if name not in self._known:
            self._load_part(name, columns=["index", "status"])
        return self._known[name].settled


def _magnitude(num: int) -> int:
    """How often a number can be divided by 16 before nothing is left."""
    return 0 if num < _MAX_SMALL else 1 + _magnitude(num // _MAX_SMALL)


def _part_of(table: pa.Table) -> _Part:
    return _Part(index_of(table)[~parts.is_lost(table)], len(table))


def _in_threads(call: Callable[[str], L], names: Sequence[str]) -> list[L]:
    """The results of calls that wait for a storage, many at once, in the order of the names."""
    with ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="records") as pool:
        # Of those that wait, none is begun after a failure or Ctrl-C.
        return list(pool.map(call, names))
