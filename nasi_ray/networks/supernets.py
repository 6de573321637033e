"""Supernets by space. A new space's network is one file and one line in ``SUPERNETS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from nasi_ray.errors import ConfigError
from nasi_ray.networks import darts, nb1shot1, nb201, stages
from nasi_ray.spaces.nb1shot1 import S1, S2, S3, NB1Shot1Space


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetFamily:
    """How the one-shot networks of a space are made."""

    make: Callable[..., nn.Module]
    """Keywords init_channels, num_cells, num_classes -> a module called as ``net(x, mixer)``."""
    cell_types: Callable[[int], tuple[str, ...]]
    """Number of cells -> type of each."""
    num_cells: int
    """Cells unless asked otherwise."""
    max_num_cells: int | None = None
    """The most there can be."""


MIN_NUM_CELLS = 3
"""With fewer there is no cell before the first reduction."""


def _nb1shot1(space: NB1Shot1Space) -> SupernetFamily:
    return SupernetFamily(
        make=partial(nb1shot1.NB1Shot1Supernet, space),
        cell_types=stages.cell_types,
        num_cells=nb1shot1.DEFAULT_NUM_CELLS,
    )


SUPERNETS: dict[str, SupernetFamily] = {
    "darts": SupernetFamily(
        make=darts.DartsSupernet, cell_types=darts.cell_types, num_cells=darts.DEFAULT_NUM_CELLS
    ),
    "s1": _nb1shot1(S1),
    "s2": _nb1shot1(S2),
    "s3": _nb1shot1(S3),
    "nb201": SupernetFamily(
        make=nb201.NB201Supernet,
        cell_types=stages.cell_types,
        num_cells=nb201.DEFAULT_NUM_CELLS,
        max_num_cells=nb201.MAX_NUM_CELLS,
    ),
}
"""Space name -> its supernets."""


def resolve_num_cells(space: str, num_cells: int | Literal["auto"]) -> int:
    """Turn ``auto`` into the space's usual number of cells.

    Raises:
        ConfigError: If there are fewer than ``MIN_NUM_CELLS``, or more than the space allows.
    """
    family = SUPERNETS[space]
    resolved = family.num_cells if num_cells == "auto" else num_cells
    if resolved < MIN_NUM_CELLS:
        raise ConfigError(
            f"num_cells is {resolved}; {space} needs at least {MIN_NUM_CELLS}, for a cell to come "
            "before the first reduction"
        )
    if family.max_num_cells is not None and resolved > family.max_num_cells:
        raise ConfigError(f"num_cells is {resolved}; {space} allows at most {family.max_num_cells}")
    return resolved
