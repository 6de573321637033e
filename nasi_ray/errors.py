"""Errors a user can cause or must act on; jobs print them as one line (``run.process``).

Bugs are not here: they stay ordinary exceptions with a traceback.
"""

from __future__ import annotations

import difflib
from typing import Any, ClassVar


class NasiRayError(Exception):
    """Root of the errors whose message tells the user what to do."""

    is_retryable: ClassVar[bool] = False
    """Whether the same command can work later with nothing changed, so that an automatic retry
    makes sense."""

    def __reduce__(self) -> tuple[object, ...]:
        # A subclass with a constructor of its own must come back whole from another process.
        return _restore, (type(self), self.args)


def _restore(cls: type[NasiRayError], args: tuple[object, ...]) -> NasiRayError:
    return cls.__new__(cls, *args)


class UnknownNameError(NasiRayError):
    """A name (space, preset, data source, ...) is not known."""

    def __init__(self, kind: str, given: str, allowed: list[str]) -> None:
        folded = {name.casefold(): name for name in allowed}
        near = difflib.get_close_matches(given.casefold(), folded, n=1)
        hint = f"; did you mean {folded[near[0]]}?" if near else ""
        super().__init__(
            f"unknown {kind} {given!r}; choose one of {', '.join(sorted(allowed))}{hint}"
        )


class ConfigError(NasiRayError):
    """A setting is out of its range, or settings contradict each other."""


class DataError(NasiRayError):
    """A data set or table is missing, empty, broken, or too small for the settings."""


class NoGoodSamplesError(NasiRayError):
    """No sample of a search is good, so there is no estimate."""


class InvalidGenotypeError(NasiRayError):
    """A stored cell is not one of its space, or has an unknown schema version."""


class ExportError(NasiRayError):
    """An exported program does not compute what the network does."""


class StorageError(NasiRayError):
    """A read or write of the run directory failed (full disk, no access, unreachable)."""

    is_retryable = True
    result: Any = None
    """What the job came to all the same, if only files of it could not be written."""


class StorageRefusedError(StorageError):
    """The run directory cannot be used until something is changed (no permission, no bucket)."""

    is_retryable = False


class RecordConflictError(NasiRayError):
    """The run directory holds records that other settings made."""


class RecordCorruptError(NasiRayError):
    """A record file is torn or was altered."""


class RunLockedError(NasiRayError):
    """Another driver is writing to the same run.

    There is no automatic retry: the other driver does the work, and waiting for its death would
    only hide that. If a dead driver has left the lock, the message says when it expires.
    """


class ClusterError(NasiRayError):
    """There is no Ray cluster at the address given, or none could be started."""

    is_retryable = True


class ClusterRefusedError(ClusterError):
    """No Ray can be used until something is changed (an address, a token, a directory)."""

    is_retryable = False


class NoCapacityError(NasiRayError):
    """No worker could be scheduled on the cluster in the time allowed."""

    is_retryable = True


class WorkerError(NasiRayError):
    """Workers keep dying or failing, so the run cannot go on."""

    is_retryable = True


class UnequalResultsError(WorkerError):
    """A sample evaluated twice gave two results, so that no answer can be trusted."""

    is_retryable = False


class SearchStoppedError(NasiRayError):
    """The search was interrupted; what was computed is stored."""


class ProxyFailedError(NasiRayError):
    """A proxy has no finite score for a network and a batch; ranking records it as missing."""

    def __init__(self, proxy: str, reason: str) -> None:
        super().__init__(f"{proxy} gives no score: {reason}")


class TrainingError(NasiRayError):
    """A training cannot go on: its loss is not finite, or it does not fit the memory."""
