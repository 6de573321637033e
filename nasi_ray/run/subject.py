"""The architecture that a job is about: from a file, a run directory, or text."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from nasi_ray.errors import ConfigError, DataError, InvalidGenotypeError
from nasi_ray.files import SETTINGS_BYTES, read_text, user_path
from nasi_ray.run.schemas import (
    MODEL_SCHEMA,
    RESULT_SCHEMA,
    TRAINING_SCHEMA,
    refuse_other_schema,
)
from nasi_ray.spaces import TabularArchitecture, parse_architecture
from nasi_ray.spaces.genotype import Genotype
from nasi_ray.storage import open_storage

_RESULTS = ("model.json", "result.json")
_CELL = "genotype.json"


def read_subject(
    genotype: str | None, space: str, architecture: str | None
) -> tuple[str, TabularArchitecture]:
    """Name of the space, and the architecture.

    Args:
        genotype: A file with a DARTS cell, its text, or the run directory of a search.
        space: Of ``architecture``; beside ``genotype`` darts, or the space that the run is of.
        architecture: Its text, in place of ``genotype``.

    Raises:
        ConfigError: If a text is not in the notation of its space, or the cell of another space.
        DataError: If the file cannot be read, or the run has no cell.
        InvalidGenotypeError: If the file holds no cell.
        RecordCorruptError: If the run's result is of another version.
        StorageError: If the storage fails.
    """
    if architecture is not None:
        try:
            return space, parse_architecture(space, architecture)
        except InvalidGenotypeError as error:
            raise ConfigError(f"architecture: {error}") from None
    found, cell = _of_genotype(str(genotype))
    if space not in (found, "darts"):
        raise ConfigError(
            f"space is {space!r}, but the genotype is a cell of {found}; leave --space out, or "
            "give the cell by --architecture"
        )
    return found, cell


def _of_genotype(given: str) -> tuple[str, TabularArchitecture]:
    if "Genotype(" in given or given.lstrip().startswith("{"):
        try:
            return "darts", Genotype.parse(given)
        except InvalidGenotypeError as error:
            raise ConfigError(f"genotype: {error}") from None
    path = user_path(given)
    if given.startswith("s3://") or os.path.isdir(path):
        return _of_run(given)
    try:
        return "darts", Genotype.parse(read_text(path, SETTINGS_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"genotype is {given!r}, which cannot be read ({reason}); give a file with a DARTS "
            "cell, or the run directory of a search or training"
        ) from None


def _of_run(uri: str) -> tuple[str, TabularArchitecture]:
    storage = open_storage(uri)
    for name in _RESULTS:
        with contextlib.suppress(FileNotFoundError):
            return _named_in(storage.read(name), f"{storage.uri}/{name}")
    try:
        # A run whose cell alone was copied.
        return "darts", Genotype.parse(storage.read(_CELL).decode())
    except FileNotFoundError:
        raise DataError(
            f"{storage.uri} has none of {', '.join((*_RESULTS, _CELL))}; give the run directory of "
            "a search or training that is done"
        ) from None


def _named_in(data: bytes, where: str) -> tuple[str, TabularArchitecture]:
    try:
        content: dict[str, Any] = json.loads(data)
        named = {"schema": RESULT_SCHEMA, **content}  # the cell alone will do
        refuse_other_schema(named, where, RESULT_SCHEMA, TRAINING_SCHEMA, MODEL_SCHEMA)
        if "genotype" in content:
            return "darts", Genotype.from_dict(content["genotype"])
        space = str(content["space"])
        return space, parse_architecture(space, str(content["architecture"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"{where} names no architecture; give the run directory of a search or training"
        ) from None
