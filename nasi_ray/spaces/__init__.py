"""Search spaces by name. A new space is one file and one line in ``SPACES``."""

from __future__ import annotations

from nasi_ray.errors import UnknownNameError
from nasi_ray.spaces.base import Decision as Decision
from nasi_ray.spaces.base import SearchSpace as SearchSpace
from nasi_ray.spaces.darts import DartsSpace as DartsSpace
from nasi_ray.spaces.genotype import Genotype as Genotype
from nasi_ray.spaces.nb1shot1 import S1, S2, S3
from nasi_ray.spaces.nb201 import NB201

SPACES: dict[str, SearchSpace] = {space.name: space for space in (DartsSpace(), S1, S2, S3, NB201)}


def get_space(name: str) -> SearchSpace:
    """Look a space up.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    try:
        return SPACES[name]
    except KeyError:
        raise UnknownNameError("space", name, list(SPACES)) from None
