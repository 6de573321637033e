"""Reading a finished or running search's records by name, for analyses."""

from __future__ import annotations

from nasi_ray.errors import RecordConflictError
from nasi_ray.records import SampleTable
from nasi_ray.storage import open_storage
from nasi_ray.store.identity import read_identity
from nasi_ray.store.record_store import RecordStore


def read_run(uri: str) -> tuple[SampleTable, str]:
    """Read all samples of a run, also while a search writes to it.

    Args:
        uri: Run directory, a path or ``s3://bucket/prefix``.

    Returns:
        The samples, and the name of their space.

    Raises:
        RecordConflictError: If there is no run.
        RecordCorruptError: If a record file is torn or was altered.
        StorageError: If the storage fails.
    """
    storage = open_storage(uri)
    stored = read_identity(storage)
    if stored is None:
        raise RecordConflictError(f"{storage.uri} holds no run; name the --out of a search")
    identity, num_logits = stored
    store = RecordStore.open(storage, identity=identity, num_logits=num_logits)
    return store.read(), str(identity["space"])
