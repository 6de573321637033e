"""Reading a finished or running search's records by name, for analyses."""

from __future__ import annotations

from nasi_ray.errors import RecordConflictError
from nasi_ray.records import SampleTable
from nasi_ray.storage import open_storage
from nasi_ray.store.identity import kind_of, read_identity
from nasi_ray.store.record_store import RecordStore
from nasi_ray.store.sample_rows import SampleRows


def read_run(uri: str) -> tuple[SampleTable, str]:
    """Read all samples of a run, also while a search writes to it.

    Args:
        uri: Run directory, a path or ``s3://bucket/prefix``.

    Returns:
        The samples, and the name of their space.

    Raises:
        RecordConflictError: If there is no run, or it is no search.
        RecordCorruptError: If a record file is torn or was altered.
        StorageError: If the storage fails.
    """
    storage = open_storage(uri)
    stored = read_identity(storage)
    if stored is None:
        raise RecordConflictError(f"{storage.uri} holds no run; name the --out of a search")
    identity, parameters = stored
    if kind_of(parameters) != "samples":
        raise RecordConflictError(
            f"{storage.uri} holds {kind_of(parameters)}, not samples; read it with read_scores"
        )
    rows = SampleRows(parameters["num_logits"])
    store = RecordStore.open(storage, identity=identity, rows=rows)
    return store.read(), str(identity["space"])
