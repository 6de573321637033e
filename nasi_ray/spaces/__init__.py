"""Search spaces by name. A new space is one file and one line in ``SPACES``."""

from __future__ import annotations

from nasi_ray.errors import UnknownNameError
from nasi_ray.spaces.base import Decision as Decision
from nasi_ray.spaces.base import SearchSpace as SearchSpace
from nasi_ray.spaces.darts import DartsSpace as DartsSpace
from nasi_ray.spaces.genotype import Genotype as Genotype

SPACES: dict[str, SearchSpace] = {"darts": DartsSpace()}


def get_space(name: str) -> SearchSpace:
    """Look a space up.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    try:
        return SPACES[name]
    except KeyError:
        raise UnknownNameError("space", name, list(SPACES)) from None
