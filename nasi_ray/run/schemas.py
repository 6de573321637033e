"""Versions of the results in run directories. Quick to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasi_ray.display.formats import one_line
from nasi_ray.errors import RecordCorruptError

RESULT_SCHEMA = "nasi_ray.search/1"
SWEEP_SCHEMA = "nasi_ray.sweep/1"
RANKING_SCHEMA = "nasi_ray.ranking/1"
TRAINING_SCHEMA = "nasi_ray.training/1"
MODEL_SCHEMA = "nasi_ray.model/1"
STUDY_SCHEMA = "nasi_ray.study/2"
STUDY_SCHEMAS = ("nasi_ray.study/1", STUDY_SCHEMA)
"""Those whose pages are the same."""

_MAX_SHOWN = 60


def refuse_other_schema(content: Mapping[str, Any], where: str, *known: str) -> None:
    """Refuse a result that this program may misread.

    Args:
        content: The result.
        where: Its file.
        known: What it may be.

    Raises:
        RecordCorruptError: If it is of another schema, or of none.
    """
    found = content.get("schema")
    if not isinstance(found, str):
        raise RecordCorruptError(
            f"{where} cannot be read (incomplete or changed); delete it and run the command that "
            "wrote it again"
        )
    if found not in known:
        raise RecordCorruptError(
            f"{where} has schema {one_line(found)[:_MAX_SHOWN]}, this program reads "
            f"{' and '.join(known)}; use the program that wrote it, or delete it and run the "
            "command that wrote it again"
        )
