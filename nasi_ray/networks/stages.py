"""How the cells of the NAS-Bench supernets are laid out: three stages, one type of cell."""

from __future__ import annotations


def reductions(num_cells: int) -> frozenset[int]:
    """Cells before which the map is halved and channels double: ⌊L/3⌋ and ⌊2L/3⌋."""
    return frozenset((num_cells // 3, 2 * num_cells // 3))


def cell_types(num_cells: int) -> tuple[str, ...]:
    """Type of each cell: all are of type ``cell``."""
    return ("cell",) * num_cells
