"""Supernets by space. A new space's network is one file and one line in ``SUPERNETS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from nasi_ray.errors import ConfigError
from nasi_ray.networks import darts


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetFamily:
    """How the one-shot networks of a space are made."""

    make: Callable[..., nn.Module]
    """Keywords init_channels, num_cells, num_classes -> a module called as ``net(x, mixer)``."""
    cell_types: Callable[[int], tuple[str, ...]]
    """Number of cells -> type of each."""
    num_cells: int
    """Cells unless asked otherwise."""


SUPERNETS: dict[str, SupernetFamily] = {
    "darts": SupernetFamily(
        make=darts.DartsSupernet, cell_types=darts.cell_types, num_cells=darts.DEFAULT_NUM_CELLS
    ),
}
"""Space name -> its supernets."""


def resolve_num_cells(space: str, num_cells: int | Literal["auto"]) -> int:
    """Turn ``auto`` into the space's usual number of cells.

    Raises:
        ConfigError: If not every cell type of the space would occur.
    """
    family = SUPERNETS[space]
    resolved = family.num_cells if num_cells == "auto" else num_cells
    all_types = set(family.cell_types(family.num_cells))
    if set(family.cell_types(resolved)) != all_types:
        raise ConfigError(
            f"num_cells is {resolved}; {space} needs more, for cells of type "
            f"{' and '.join(sorted(all_types))} to occur"
        )
    return resolved
