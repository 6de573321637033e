"""Which settings a run's records were made with; one file, fixed once there are records."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.storage import Storage

IDENTITY_NAME = "identity.json"
_VERSION = 1
_MAX_SHOWN = 200

IdentityValue = str | int | float | bool | None | Sequence[str | int | float | bool | None]
"""What a field of an identity may hold; tuples and lists are the same."""


class RecordKind(Protocol):
    """What the records of a run are: a ``RowFormat``, or files of another kind."""

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """What ``identity.json`` says of it; ``rows`` is the folder of the records."""


Stored = tuple[dict[str, Any], dict[str, Any]]
"""An identity, and the parameters of the row format."""


def fingerprint(identity: Mapping[str, IdentityValue]) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal; stored in every part.

    Raises:
        TypeError: If a value is no JSON scalar or list of them.
        ValueError: If a number is not finite.
    """
    return hashlib.sha256(_canonical(dict(identity)).encode()).hexdigest()


_RECORD = re.compile(
    r"(samples|measurements|scores|checkpoints)/"
    r"(?:.+/)?(?:part-\d{8,}-[0-9a-f]{16}\.parquet|step-\d{9}\.pt)"
)
"""Name of a record's file of any kind."""


def establish(
    storage: Storage,
    identity: Mapping[str, IdentityValue],
    rows_of: RecordKind,
    has_own: Callable[[], bool] | None = None,
) -> None:
    """Write the identity of a new run, or compare it with that of the run that is there.

    A run without a single record takes the new identity.

    Args:
        storage: The run directory.
        identity: Everything that determines a record, by name.
        rows_of: What the records are.
        has_own: Whether a record that is there says that it was made with these settings, so that
            an identity that is gone can be written again; None: records do not say it.

    Raises:
        RecordConflictError: If the run holds records of other settings or of another kind (names
            each difference), or records whose settings are not known.
        RecordCorruptError: If the identity that is there cannot be read.
        StorageError: If the storage fails.
    """
    stored = read_identity(storage)
    content = {"version": _VERSION, **rows_of.parameters, "identity": dict(identity)}
    data = json.dumps(content, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"
    is_new = stored is None
    if stored is None:
        _refuse_orphans(storage, has_own)
        if storage.create(IDENTITY_NAME, data):
            return
        stored = read_identity(storage)
    if stored is None:
        raise RecordCorruptError(
            f"{storage.uri}/{IDENTITY_NAME} appears and disappears while it is read; make sure "
            "that no other program changes the directory, and try again"
        )
    try:
        _compare(storage.uri, stored, (dict(identity), dict(rows_of.parameters)))
    except RecordConflictError:
        if is_new or _has_records(storage, stored):
            raise
        # No record was made with those settings, so nothing holds anybody to them.
        storage.write(IDENTITY_NAME, data)


def _refuse_orphans(storage: Storage, has_own: Callable[[], bool] | None) -> None:
    """Refuse records that may be of other settings, as nothing says any more of which they are."""
    folders = ("samples/", "measurements/", "scores/", "checkpoints/")
    names = (name for folder in folders for name in storage.list(folder))
    record = next(filter(None, map(_RECORD.fullmatch, names)), None)
    if record is None or (has_own is not None and has_own()) or read_identity(storage) is not None:
        return
    repeat = "" if has_own is None else "run the command that made them again, "
    raise RecordConflictError(
        f"{storage.uri} holds {record[1]}, but its {IDENTITY_NAME}, which says how they were made, "
        f"is gone; restore it, {repeat}or use another --out"
    )


def refuse_other_settings(
    storage: Storage, identity: Mapping[str, IdentityValue], rows_of: RecordKind
) -> None:
    """Compare an identity with that of the records that are there; nothing is written.

    Raises:
        RecordConflictError: If the run holds records of other settings or of another kind; names
            each difference.
        RecordCorruptError: If the identity that is there cannot be read.
        StorageError: If the storage fails.
    """
    stored = read_identity(storage)
    if stored is None:
        return
    try:
        _compare(storage.uri, stored, (dict(identity), dict(rows_of.parameters)))
    except RecordConflictError:
        if _has_records(storage, stored):
            raise


def read_identity(storage: Storage) -> Stored | None:
    """The settings of a run and the parameters of its records' format; None where none has begun.

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
        parameters = dict(json.loads(data, parse_constant=_refuse))
        _canonical(parameters).encode()  # no infinite numbers or halves of characters either
        version, identity = (parameters.pop(k) for k in ("version", "identity"))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RecordCorruptError(
            f"{where} cannot be read (incomplete or changed); restore it, or use another run "
            "directory"
        ) from None
    if version != _VERSION:
        raise RecordCorruptError(
            f"{where} has version {version!r}, this program reads {_VERSION}; use the program "
            "that wrote it, or another run directory"
        )
    # A search names no kind: its records came before others.
    names_a_kind = type(parameters.get("num_logits")) is int or _is_kind(parameters.get("rows"))
    if not isinstance(identity, dict) or not names_a_kind:
        raise RecordCorruptError(f"{where} was changed; restore it, or use another run directory")
    return identity, parameters


def _has_records(storage: Storage, stored: Stored) -> bool:
    kind = kind_of(stored[1])
    folders = ("samples", "measurements") if kind == "samples" else (kind,)
    return any(storage.list(f"{folder}/") for folder in folders)


def _is_kind(rows: object) -> bool:
    return isinstance(rows, str) and re.fullmatch("[a-z][a-z0-9_-]*", rows) is not None


def kind_of(parameters: Mapping[str, Any]) -> str:
    """Which records a run's format parameters stand for: ``samples``, ``scores``, ..."""
    return str(parameters.get("rows", "samples"))


def _compare(uri: str, stored: Stored, asked: Stored) -> None:
    kind, asked_kind = (kind_of(parameters) for _, parameters in (stored, asked))
    if kind != asked_kind:
        raise RecordConflictError(f"{uri} holds {kind}, not {asked_kind}; use another --out")
    held, wanted = ({**identity, **parameters} for identity, parameters in (stored, asked))
    differing = [
        name
        for name in sorted(held.keys() | wanted.keys())
        if _shown(held, name) != _shown(wanted, name)
    ]
    if differing:
        raise RecordConflictError(
            f"{uri} holds {kind} made with {', '.join(_shown(held, n) for n in differing)}; "
            f"asked for {', '.join(_shown(wanted, n) for n in differing)}: "
            "use another --out or the same settings"
        )


def _shown(identity: dict[str, Any], name: str) -> str:
    shown = name if name.isidentifier() else _canonical(name)
    if name not in identity:
        return f"no {_short(shown)}"
    return f"{_short(shown)}={_short(_canonical(identity[name]))}"


def _short(text: str) -> str:
    """A text of at most ``_MAX_SHOWN`` characters that still differs where texts do."""
    if len(text) <= _MAX_SHOWN:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{text[: _MAX_SHOWN - 12]}... {digest}"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _canonical(value: object) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
