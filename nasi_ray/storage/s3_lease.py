"""The lock of a run on S3: a lease object, taken and renewed by conditional writes.

S3 has no lock that goes away with its holder, so the lock is an object that must be renewed. A
holder trusts it for ``duration_s`` counted from before the request that renewed it, by a clock of
its own that never goes back and goes on while the machine is suspended; a contender takes it over
once it has gone unrenewed for ``duration_s`` plus the resolution of the times S3 gives, both read
from the server. No two clocks are ever compared.
What remains: a request already under way when the lease runs out may still land, which does no
harm to records (never overwritten, and the same for the same settings).
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from nasi_ray.errors import NasiRayError, RunLockedError, StorageError, StorageRefusedError
from nasi_ray.storage.s3_errors import is_condition_failed, is_missing, one_line_errors
from nasi_ray.storage.s3_objects import S3Objects

_LOG = logging.getLogger(__name__)
_SERVER_TIME_RESOLUTION_S = 1.0
_MAX_TRIES = 5
_GIVING_BACK_S = 10.0
_LONGEST_LOCK = 65_536
_NO_ETAG = f'"{"0" * 32}"'
# A lock is anybody's text until it was read: what it asks for must neither be for ever nor nothing.
_SHORTEST_S, _LONGEST_S = 5.0, 600.0
# CLOCK_MONOTONIC of Linux stands still while the machine is suspended, and the server's does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Owners of this process that hold nothing any more, though S3 may say so still.
_given_up: set[str] = set()


def _seconds() -> float:
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """The lease object as it was read."""

    content: dict[str, Any]
    etag: str
    expires_in_s: float
    note: str
    """What to say of a duration that is not taken as it is."""

    @property
    def holder(self) -> str:
        host, pid, since = (str(self.content.get(k, "?"))[:80] for k in ("host", "pid", "since"))
        return f"pid {pid} on {host} since {since}"


def _content_of(data: bytes) -> dict[str, Any]:
    """A lock as it was written; empty if this program did not write it."""
    try:
        return dict(json.loads(data)) if len(data) <= _LONGEST_LOCK else {}
    except (ValueError, TypeError, RecursionError):
        return {}


def _duration_of(content: dict[str, Any], default_s: float) -> tuple[float, str]:
    """Seconds for which a lock is taken to hold, and what to say if they are not its own."""
    given: object = content.get("duration_s")
    if isinstance(given, int | float) and not isinstance(given, bool) and given == given:
        taken_s = min(max(given, _SHORTEST_S), _LONGEST_S)
    else:
        taken_s = default_s
    if taken_s == given:
        return taken_s, ""
    return taken_s, f" (the lock file says {str(given)[:20]!r} s; {taken_s:g} s is used)"


class Lease:
    """One holding of the lock; not to be used again once released."""

    def __init__(self, objects: S3Objects, key: str, *, run_uri: str, duration_s: float) -> None:
        self._objects = objects
        self._key = key
        self._run_uri = run_uri
        self._duration_s = duration_s
        self._owner = uuid.uuid4().hex
        self._since = datetime.now(UTC)
        self._etag = ""
        self._may_be_held = self._is_told = False
        self._valid_until = 0.0
        self._lost_because = ""
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="nasi-ray-lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease and begin to renew it; ``release`` is due whatever comes of it.

        Raises:
            RunLockedError: If another driver holds it.
            StorageError: If S3 cannot be reached, or ignores conditions.
        """
        # Of a request that failed or was interrupted nobody knows whether it went through.
        self._may_be_held = True
        try:
            with one_line_errors("lock", self._run_uri):
                self._acquire()
                self._probe()
        except (RunLockedError, StorageRefusedError):
            self._may_be_held = bool(self._etag)
            raise
        try:
            self._thread.start()
        except RuntimeError as error:  # too many threads
            raise StorageError(f"cannot lock {self._run_uri}: {error}; try again") from error

    def check(self) -> None:
        """Make sure that this driver is still the only writer; renews a lease that ran out.

        Raises:
            RunLockedError: If another driver took the lease.
            StorageError: If the lease ran out and S3 cannot be reached to renew it.
        """
        if self._lost_because:
            raise RunLockedError(self._lost_because)
        if _seconds() >= self._valid_until:
            self._renew()

    def release(self) -> None:
        """Give the lease back if it may be ours.

        A failure is logged, and S3 that hangs is waited for ten seconds only: the lease expires
        anyway, and this process takes it again at once.
        """
        self._stop.set()
        if not self._may_be_held:
            return
        self._may_be_held = False
        _given_up.add(self._owner)
        thread = threading.Thread(target=self._give_back, name="nasi-ray-unlock", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # too many threads
            return self._give_back()
        thread.join(_GIVING_BACK_S)
        if thread.is_alive():
            self._is_told = True
            _LOG.warning(
                "cannot unlock %s: S3 has not answered for %.0f s (the lock expires in %.0f s)",
                self._run_uri, _GIVING_BACK_S, self._duration_s,
            )  # fmt: skip

    def _give_back(self) -> None:
        try:
            with self._mutex, one_line_errors("unlock", self._run_uri):
                stored = self._get()
                if stored and stored.content.get("owner") == self._owner:
                    self._delete(stored.etag)
            _given_up.discard(self._owner)
        except Exception as error:
            level = logging.DEBUG if self._is_told else logging.WARNING
            _LOG.log(level, "%s (the lock expires in %.0f s)", error, self._duration_s)

    def _acquire(self) -> None:
        for _ in range(_MAX_TRIES):
            started = _seconds()
            etag = self._put(IfNoneMatch="*")
            if not etag:
                stored = self._get()
                if stored is None:
                    continue
                # Our own is a put that went through though S3 answered otherwise.
                if str(stored.content.get("owner")) not in {self._owner, *_given_up}:
                    self._refuse_live(stored)
                    _LOG.warning("taking over %s from %s", self._run_uri, stored.holder)
                started = _seconds()
                etag = self._put(IfMatch=stored.etag)
            if etag:
                self._etag, self._valid_until = etag, started + self._duration_s
                return
        raise RunLockedError(f"{self._run_uri} is being locked by other drivers; try again")

    def _probe(self) -> None:
        """Make sure that conditions are kept: one that does not hold fails, one that does not."""
        conditions = {"If-None-Match": {"IfNoneMatch": "*"}, "If-Match": {"IfMatch": _NO_ETAG}}
        for name, condition in conditions.items():
            if self._put(**condition):
                raise StorageRefusedError(
                    f"cannot lock {self._run_uri}: the endpoint ignores {name}, so two "
                    "drivers could write at once; use an S3 service with conditional writes"
                )
        if not self._renewed():
            raise StorageRefusedError(
                f"cannot lock {self._run_uri}: the endpoint refuses every If-Match, so the lock "
                "could not be renewed; use an S3 service with conditional writes"
            )

    def _refuse_live(self, stored: _Stored) -> None:
        if stored.expires_in_s > 0:
            raise RunLockedError(
                f"{self._run_uri} is being written by {stored.holder}; stop it, use another run "
                f"directory, or, if it died, try again in {stored.expires_in_s:.0f} s{stored.note}"
            )

    def _renew(self) -> None:
        with self._mutex, one_line_errors("renew the lock of", self._run_uri):
            if not self._stop.is_set() and not self._renewed():
                raise StorageError(f"cannot renew the lock of {self._run_uri}: conflicting answers")

    def _renewed(self) -> bool:
        """Renew the lease, unless S3 refuses to though the lease is ours."""
        for _ in range(_MAX_TRIES):
            started = _seconds()
            if etag := self._put(IfMatch=self._etag):
                self._etag, self._valid_until = etag, started + self._duration_s
                return True
            stored = self._get()
            if stored is None or stored.content.get("owner") != self._owner:
                holder = f"taken over by {stored.holder}" if stored else "removed"
                self._lost_because = (
                    f"the lock of {self._run_uri} was {holder} while this driver could not "
                    "renew it; nothing more is written: start again with the same settings"
                )
                raise RunLockedError(self._lost_because)
            self._etag = stored.etag  # a put of ours went through though S3 answered otherwise
        return False

    def _keep(self) -> None:
        while not self._stop.wait(self._duration_s / 3):
            try:
                self._renew()
            except RunLockedError as error:
                _LOG.error("%s", error)
                return
            except Exception as error:
                # Whatever it is, the next attempt may succeed; meanwhile ``check`` renews.
                is_ours = isinstance(error, NasiRayError)
                line = error if is_ours else f"{type(error).__name__}: {error}"
                _LOG.warning("%s", line, exc_info=not is_ours)
            except BaseException as error:
                _LOG.error(
                    "the thread that renews the lock of %s died of %r; from now on the lock is "
                    "renewed only when records are written", self._run_uri, error,
                )  # fmt: skip
                return

    def _put(self, **condition: str) -> str | None:
        """Write the lease; its ETag, or None where the condition does not hold."""
        now = datetime.now(UTC)
        content = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": self._since.isoformat(timespec="seconds"),
            "expires": (now + timedelta(seconds=self._duration_s)).isoformat(),
            "duration_s": self._duration_s,
        }
        body = json.dumps(content).encode()
        try:
            return self._objects.put(self._key, body, **condition)
        except ClientError as error:
            if is_condition_failed(error) or is_missing(error):
                return None
            raise

    def _get(self) -> _Stored | None:
        try:
            found = self._objects.get(self._key)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        content = _content_of(found.data)
        duration_s, note = _duration_of(content, self._duration_s)
        return _Stored(
            content=content,
            etag=found.etag,
            expires_in_s=duration_s + _SERVER_TIME_RESOLUTION_S - found.age_s,
            note=note,
        )

    def _delete(self, etag: str) -> None:
        try:
            self._objects.delete(self._key, IfMatch=etag)
        except ClientError as error:
            if is_condition_failed(error) or is_missing(error):
                return
            if error.response.get("Error", {}).get("Code") != "NotImplemented":
                raise
            self._objects.delete(self._key)
