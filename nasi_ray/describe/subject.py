"""The architecture that a description is of: from a file, a run directory, or text."""

from __future__ import annotations

import json
import os
from typing import Any

from nasi_ray.describe.settings import DescribeJob
from nasi_ray.errors import ConfigError, DataError, InvalidGenotypeError
from nasi_ray.files import SETTINGS_BYTES, read_text, user_path
from nasi_ray.spaces import TabularArchitecture, parse_architecture
from nasi_ray.spaces.genotype import Genotype
from nasi_ray.storage import open_storage
from nasi_ray.training.model import MODEL_JSON, load_config

_RESULT = "result.json"
_CELL = "genotype.json"


def read_subject(job: DescribeJob) -> tuple[str, TabularArchitecture]:
    """Name of the space, and the architecture.

    Raises:
        ConfigError: If the architecture's text is not in the notation of its space.
        DataError: If the file cannot be read, or the run has no cell.
        InvalidGenotypeError: If the file holds no cell.
        StorageError: If the storage fails.
    """
    if job.architecture is not None:
        try:
            return job.space, parse_architecture(job.space, job.architecture)
        except InvalidGenotypeError as error:
            raise ConfigError(f"architecture: {error}") from None
    given = str(job.genotype)
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
    if MODEL_JSON in storage.list(MODEL_JSON):
        config = load_config(storage)
        return config.space, config.parsed()
    try:
        result: dict[str, Any] = json.loads(storage.read(_RESULT))
        if "genotype" not in result:
            space = str(result["space"])
            return space, parse_architecture(space, str(result["architecture"]))
    except FileNotFoundError:
        pass  # a run whose cell alone was copied
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"{storage.uri}/{_RESULT} names no architecture; give the run directory of a search or "
            "training"
        ) from None
    try:
        return "darts", Genotype.parse(storage.read(_CELL).decode())
    except FileNotFoundError:
        raise DataError(
            f"{storage.uri} has neither {_CELL} nor {MODEL_JSON} nor an architecture in {_RESULT}; "
            "give the run directory of a search or training that is done"
        ) from None
