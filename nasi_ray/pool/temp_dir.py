"""A directory for the files and sockets of a Ray that is started here, closed to other users."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from nasi_ray.errors import ClusterRefusedError

_MAX_SOCKET = 103 if sys.platform == "darwin" else 107
_INNER = "r"
# Ray's longest socket below its directory.
_LONGEST = f"/session_{'2026-01-01_00-00-00_000000'}_{{pid}}/sockets/plasma_store"


def make_temp_dir() -> str:
    """Make one below ``RAY_TMPDIR``, else ``TMPDIR`` or ``/tmp``; for Ray's ``_temp_dir``.

    Raises:
        ClusterRefusedError: If it cannot be made, or is too long for the name of a socket.
    """
    given = os.environ.get("RAY_TMPDIR")
    bases = [given] if given else [os.environ.get("TMPDIR") or "/tmp", "/tmp"]
    longest = _MAX_SOCKET - len(_LONGEST.format(pid=os.getpid())) - len(f"/ray-12345678/{_INNER}")
    fitting = [base for base in map(os.path.abspath, bases) if len(os.fsencode(base)) <= longest]
    name = "RAY_TMPDIR" if given else "TMPDIR"
    if not fitting:
        raise ClusterRefusedError(
            f"Ray cannot start in {bases[0]}: the names of its sockets would be too long; set "
            f"RAY_TMPDIR to a shorter path, of at most {longest} bytes"
        )
    try:
        os.makedirs(fitting[0], exist_ok=True)
        # Ray opens the directory that it is given to everybody, so that is one inside.
        return os.path.join(tempfile.mkdtemp(prefix="ray-", dir=fitting[0]), _INNER)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ClusterRefusedError(
            f"Ray cannot start in {fitting[0]}: {reason}; set {name} to a directory that you can "
            "write to"
        ) from error


def delete_temp_dir(path: str) -> None:
    """Delete what ``make_temp_dir`` has made, with all that is in it."""
    # Ray's agents, which outlive it for a moment, may write while it is being deleted.
    for _ in range(3):
        shutil.rmtree(os.path.dirname(path), ignore_errors=True)
