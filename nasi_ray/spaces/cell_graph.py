"""A cell as a graph, as pictures show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vertex:
    """A vertex of a cell."""

    label: str
    """Its operation, or what it stands for: ``input``, ``2``, ``output``."""
    decision: str = ""
    """Name of the decision that chose it; empty: none did."""


@dataclass(frozen=True, slots=True)
class Arc:
    """A directed edge of a cell."""

    source: int
    """Position of a vertex."""
    target: int
    """Position of a later vertex."""
    label: str = ""
    """Its operation; empty if operations sit on vertices."""
    decision: str = ""
    """Name of the decision that chose it; empty: none did."""


@dataclass(frozen=True, slots=True)
class CellGraph:
    """Vertices in topological order, and the edges between them.

    An architecture with a method ``graph()`` that returns one is drawn.
    """

    vertices: Sequence[Vertex]
    arcs: Sequence[Arc]
