"""The parts of a page about studies: their text and figures as they are."""

from __future__ import annotations

from nasi_ray.pages.blocks import Part
from nasi_ray.storage import Storage


def study_parts(storage: Storage) -> list[Part]:
    """Describe the studies in a directory; none if there is none."""
    return []
