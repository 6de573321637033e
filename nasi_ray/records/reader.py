"""Read the records of a finished or running search, for analyses."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.records.format import RowFormat
from nasi_ray.records.identity import IDENTITY_NAME, Stored, kind_of, read_identity
from nasi_ray.records.measurement_rows import MeasurementRows
from nasi_ray.records.rows import SampleTable, SearchRecords
from nasi_ray.records.sample_rows import SampleRows
from nasi_ray.records.store import RecordStore
from nasi_ray.storage import Storage, open_storage

T = TypeVar("T")


def read_run(uri: str) -> tuple[SampleTable, str]:
    """Read all samples of a run, also while a search writes to it.

    Args:
        uri: Run directory, a path or ``s3://bucket/prefix``.

    Returns:
        The samples, and the name of their space.

    Raises:
        RecordConflictError: If there is no run, or it is not a search.
        RecordCorruptError: If a record file is torn or was altered.
        StorageError: If the storage fails.
    """
    storage = open_storage(uri)
    identity, parameters = identity_of(storage, "samples")
    rows = SampleRows(parameters["num_logits"])
    store = RecordStore.open(storage, identity=identity, rows=rows)
    return store.read(), str(identity["space"])


def read_records(uri: str) -> SearchRecords:
    """Read samples and measurements of a run, also while a search writes to it.

    Args:
        uri: Run directory, a path or ``s3://bucket/prefix``.

    Raises:
        RecordConflictError: If there is no run, or it is not a search.
        RecordCorruptError: If a record file is torn or was altered.
        StorageError: If the storage fails.
    """
    storage = open_storage(uri)
    identity, parameters = identity_of(storage, "samples")
    num_logits = parameters["num_logits"]

    def read(rows: RowFormat[Any, T]) -> T:
        return RecordStore.open(storage, identity=identity, rows=rows).read()

    folders = {name.split("/")[1] for name in storage.list("measurements/")}
    return SearchRecords(
        samples=read(SampleRows(num_logits)) if storage.list("samples/") else None,
        measurements={
            series: read(MeasurementRows(num_logits, series)) for series in sorted(folders)
        },
    )


_MAKERS = {"samples": "search", "scores": "ranking", "checkpoints": "training"}


def identity_of(storage: Storage, kind: Literal["samples", "scores"]) -> Stored:
    """Settings and format parameters of a run that holds records of a kind.

    Args:
        storage: The run directory.
        kind: Kind of the records.

    Raises:
        RecordConflictError: If there is no run, or it holds other records.
        RecordCorruptError: If the run's identity cannot be read.
        StorageError: If the storage fails.
    """
    stored = read_identity(storage)
    maker = _MAKERS[kind]
    if stored is None:
        text = f"{storage.uri} holds no run of a {maker}; name the --out of a {maker}"
        if below := sorted({name.split("/")[1] for name in storage.list("runs/")}):
            text += f", such as {storage.uri}/runs/{below[0]}, or several of those"
        raise RecordConflictError(text)
    found = kind_of(stored[1])
    if found != kind:
        other = _MAKERS.get(found, "job of another version")
        raise RecordConflictError(
            f"{storage.uri} is the run directory of a {other}: it holds {found}, not {kind}; name "
            f"the --out of a {maker}"
        )
    if not isinstance(stored[0].get("space"), str):
        raise RecordCorruptError(f"{storage.uri}/{IDENTITY_NAME} names no space; restore it")
    return stored
