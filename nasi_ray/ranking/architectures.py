"""Which architectures a ranking is of: positions in a space's enumeration, each cell once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.errors import ConfigError, DataError, InvalidGenotypeError, UnknownNameError
from nasi_ray.spaces import SPACES
from nasi_ray.spaces.graph import Bytes
from nasi_ray.spaces.nb1shot1 import S1, S2, S3, NB1Shot1Architecture, NB1Shot1Space
from nasi_ray.spaces.nb201 import NB201, NB201Architecture, NB201Space

RankedSpace = NB1Shot1Space | NB201Space
RankedArchitecture = NB1Shot1Architecture | NB201Architecture

RANKED_SPACES: dict[str, RankedSpace] = {space.name: space for space in (S1, S2, S3, NB201)}
"""Spaces that can be enumerated, and that tables of accuracies exist for."""

_MAX_NAMED = 5


def get_ranked_space(name: str) -> RankedSpace:
    """Look a space up.

    Raises:
        ConfigError: If it is a search space without an enumeration.
        UnknownNameError: If there is none of that name.
    """
    if name in RANKED_SPACES:
        return RANKED_SPACES[name]
    if name in SPACES:
        raise ConfigError(
            f"space is {name!r}, whose cells no table has the accuracies of; a ranking is of "
            f"{', '.join(sorted(RANKED_SPACES))}"
        )
    raise UnknownNameError("space to rank", name, list(RANKED_SPACES))


@cache
def distinct_positions(name: str) -> IntArray:
    """Where each distinct architecture of a space comes first in its enumeration, ascending.

    For S1, S2 and S3 cells are the same if their NAS-Bench-101 hash is: loose ends pruned, up to
    isomorphism (2,685, 7,773 and 55,854). NAS-Bench-201 counts each of its strings (15,625).

    Args:
        name: Of a ranked space.
    """
    return np.unique(_first_positions(name))


def representative(name: str, position: int) -> int:
    """The first position in the enumeration that holds the same architecture."""
    return int(_first_positions(name)[position])


def select_positions(name: str, wanted: str, *, subset_seed: int = 0) -> IntArray:
    """Positions of the architectures asked for, ascending, each distinct architecture once.

    Args:
        name: Of a ranked space.
        wanted: ``all``; a number n of random ones; or a file with one architecture string a line,
            where empty lines and lines that begin with # are left out.
        subset_seed: Which random ones (≥ 0). A larger n takes the same and more.

    Raises:
        ConfigError: If the number is 0 or larger than the space.
        DataError: If there is no such file, or it has no architecture or lines that are none.
    """
    if wanted == "all":
        return distinct_positions(name)
    try:
        number = int(wanted)
    except ValueError:
        return _read_file(name, Path(wanted).expanduser())
    positions = distinct_positions(name)
    if not 1 <= number <= len(positions):
        raise ConfigError(
            f"architectures is {number}; {name} has {len(positions)} distinct ones: give 1 to "
            f"{len(positions)}, all, or a file"
        )
    order = np.random.default_rng(subset_seed).permutation(len(positions))
    return np.sort(positions[order[:number]])


def table_keys(name: str, positions: IntArray) -> Bytes | list[str]:
    """What a table finds architectures by: hashes, shape (n, 16), or NAS-Bench-201 strings.

    Args:
        name: Of a ranked space.
        positions: In the space's enumeration, shape (n,).
    """
    space = RANKED_SPACES[name]
    if isinstance(space, NB1Shot1Space):
        return _hashes(name)[positions]
    return [space.architecture(position).to_string() for position in positions.tolist()]


@cache
def _first_positions(name: str) -> IntArray:
    """Of every position: the first one with the same architecture; shape (num_architectures,)."""
    space = RANKED_SPACES[name]
    if isinstance(space, NB201Space):
        return np.arange(space.num_architectures, dtype=np.int64)
    hashes = _hashes(name).view("V16").reshape(-1)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    positions: IntArray = first[inverse].astype(np.int64)
    return positions


@cache
def _hashes(name: str) -> Bytes:
    space = RANKED_SPACES[name]
    assert isinstance(space, NB1Shot1Space)
    return np.ascontiguousarray(space.hashes())


def _read_file(name: str, path: Path) -> IntArray:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is no text; give a file with one architecture string a line"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"architectures is {str(path)!r}, which cannot be read ({reason}); give all, a number "
            "of random ones, or a file with one architecture string a line"
        ) from None
    space, positions, bad = RANKED_SPACES[name], [], []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            positions.append(_position(space, text))
        except InvalidGenotypeError as error:
            bad.append(f"line {number}: {error}")
    if bad:
        more = f"; and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
        raise DataError(
            f"{path} has lines that are no {name} cell: {'; '.join(bad[:_MAX_NAMED])}{more}"
        )
    if not positions:
        raise DataError(f"{path} has no architecture; give one a line, as {_example(space)}")
    return np.unique(_first_positions(name)[positions])


def _position(space: RankedSpace, text: str) -> int:
    if isinstance(space, NB1Shot1Space):
        return space.index(space.parse(text))
    return space.index(space.parse(text))


def _example(space: RankedSpace) -> str:
    return space.architecture(0).to_string()
