"""Search spaces by name; ``docs/extending.md`` says how to add one."""

from __future__ import annotations

from typing import Any

from nasi_ray.errors import ConfigError
from nasi_ray.registry import Registry
from nasi_ray.spaces.base import Architecture as Architecture
from nasi_ray.spaces.base import Decision as Decision
from nasi_ray.spaces.base import SearchSpace as SearchSpace
from nasi_ray.spaces.base import TabularArchitecture as TabularArchitecture
from nasi_ray.spaces.base import TabularSpace as TabularSpace
from nasi_ray.spaces.cell_graph import Arc as Arc
from nasi_ray.spaces.cell_graph import CellGraph as CellGraph
from nasi_ray.spaces.cell_graph import Vertex as Vertex
from nasi_ray.spaces.darts import DARTS
from nasi_ray.spaces.genotype import Genotype as Genotype
from nasi_ray.spaces.nb1shot1 import S1, S2, S3
from nasi_ray.spaces.nb201 import NB201

SPACES: Registry[SearchSpace] = Registry(
    "space", "nasi_ray.spaces", {space.name: space for space in (DARTS, S1, S2, S3, NB201)}
)


def get_space(name: str) -> SearchSpace:
    """Look a space up.

    Raises:
        UnknownNameError: If the space is not known.
        ConfigError: If it is a plug-in that cannot be imported, or is not a space.
    """
    space = SPACES.get(name)
    if not isinstance(space, SearchSpace):
        raise ConfigError(
            f"space {name!r} is a {type(space).__name__}; a plug-in must name an instance of a "
            "subclass of nasi_ray.spaces.SearchSpace"
        )
    return space


def get_tabular_space(name: str) -> TabularSpace[Any]:
    """Look up a space that can be enumerated and can have tables of accuracies.

    Raises:
        UnknownNameError: If the space is not known.
        ConfigError: If it is not such a space.
    """
    space = get_space(name)
    if isinstance(space, TabularSpace):
        return space
    tabular = [n for n in SPACES.names() if isinstance(SPACES.get(n), TabularSpace)]
    raise ConfigError(
        f"space {name!r} has no table of accuracies: its cells cannot be enumerated; choose one "
        f"of {', '.join(sorted(tabular))}"
    )


def parse_architecture(space: str, text: str) -> TabularArchitecture:
    """Read an architecture in the notation of its space.

    Args:
        space: Name of the space.
        text: As ``Genotype.parse`` reads it, or the space's ``parse``.

    Raises:
        UnknownNameError: If the space is not known.
        ConfigError: If it is a space whose cells cannot be read.
        InvalidGenotypeError: If the text is not an architecture of that space.
    """
    if space == DARTS.name:
        return Genotype.parse(text)
    architecture: TabularArchitecture = get_tabular_space(space).parse(text)
    return architecture
