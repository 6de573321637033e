"""What ``result.json`` says of a selected architecture, space by space."""

from __future__ import annotations

from typing import Any

from nasi_ray.spaces.genotype import Genotype
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture
from nasi_ray.spaces.nb201 import NB201Architecture


def architecture_fields(architecture: Any) -> dict[str, Any]:
    """JSON-ready fields that name an architecture.

    Args:
        architecture: What a space's ``select`` gave.

    Returns:
        ``genotype`` for a DARTS cell; ``architecture`` in the table's notation for the tabular
        spaces, and ``hash`` where the benchmark has one.

    Raises:
        TypeError: If it is of no known space.
    """
    if isinstance(architecture, Genotype):
        return {"genotype": architecture.to_dict()}
    if isinstance(architecture, NB1Shot1Architecture):
        return {"architecture": architecture.to_string(), "hash": architecture.hash()}
    if isinstance(architecture, NB201Architecture):
        return {"architecture": architecture.to_string()}
    raise TypeError(f"no fields are defined for {type(architecture).__name__}")
