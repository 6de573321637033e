"""Which settings a run's samples were made with; one file, fixed once there are samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.storage import Storage
from nasi_ray.store.parts import PARTS

IDENTITY_NAME = "identity.json"
_VERSION = 1

IdentityValue = str | int | float | bool | None | Sequence[str | int | float | bool | None]
"""What a field of an identity may hold; tuples and lists are the same."""


def fingerprint(identity: Mapping[str, IdentityValue]) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal; stored in every part.

    Raises:
        TypeError: If a value is no JSON scalar or list of them.
        ValueError: If a number is not finite.
    """
    return hashlib.sha256(_canonical(dict(identity)).encode()).hexdigest()


def establish(storage: Storage, identity: Mapping[str, IdentityValue], num_logits: int) -> None:
    """Write the identity of a new run, or compare it with that of the run that is there.

    A run without a single sample takes the new identity.

    Raises:
        RecordConflictError: If the run holds samples of other settings; names each difference.
        RecordCorruptError: If the identity that is there cannot be read.
        StorageError: If the storage fails.
    """
    stored = read_identity(storage)
    content = {"version": _VERSION, "num_logits": num_logits, "identity": dict(identity)}
    data = json.dumps(content, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"
    is_new = stored is None
    if stored is None:
        if storage.create(IDENTITY_NAME, data):
            return
        stored = read_identity(storage)
    if stored is None:
        raise RecordCorruptError(f"{storage.uri}/{IDENTITY_NAME} comes and goes; try again")
    stored_identity, stored_logits = stored
    try:
        _compare(
            storage.uri,
            {**stored_identity, "num_logits": stored_logits},
            {**identity, "num_logits": num_logits},
        )
    except RecordConflictError:
        if is_new or storage.list(PARTS):
            raise
        # No sample was made with those settings, so nothing holds anybody to them.
        storage.write(IDENTITY_NAME, data)


def read_identity(storage: Storage) -> tuple[dict[str, Any], int] | None:
    """The settings of a run and its number of logits; None where no run has begun.

    Raises:
        RecordCorruptError: If it cannot be read, or another version wrote it.
        StorageError: If the storage fails.
    """
    try:
        data = storage.read(IDENTITY_NAME)
    except FileNotFoundError:
        return None
    where = f"{storage.uri}/{IDENTITY_NAME}"
    try:
        content = json.loads(data, parse_constant=_refuse)
        version, identity, num_logits = (content[k] for k in ("version", "identity", "num_logits"))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RecordCorruptError(
            f"{where} cannot be read (torn or altered); restore it, or use another run directory"
        ) from None
    if version != _VERSION:
        raise RecordCorruptError(
            f"{where} has version {version!r}, this program reads {_VERSION}; use the program "
            "that wrote it, or another run directory"
        )
    if not isinstance(identity, dict) or type(num_logits) is not int:
        raise RecordCorruptError(f"{where} was altered; restore it, or use another run directory")
    return identity, num_logits


def _compare(uri: str, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    differing = [
        name
        for name in sorted(stored.keys() | asked.keys())
        if _shown(stored, name) != _shown(asked, name)
    ]
    if differing:
        raise RecordConflictError(
            f"{uri} holds samples made with {', '.join(_shown(stored, n) for n in differing)}; "
            f"asked for {', '.join(_shown(asked, n) for n in differing)}: "
            "use another --out or the same settings"
        )


def _shown(identity: dict[str, Any], name: str) -> str:
    shown = name if name.isidentifier() else _canonical(name)
    return f"{shown}={_canonical(identity[name])}" if name in identity else f"no {shown}"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _canonical(value: object) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
