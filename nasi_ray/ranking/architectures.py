"""The architectures of a ranking: positions in a space's enumeration, each cell once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.errors import ConfigError, DataError, InvalidGenotypeError
from nasi_ray.files import read_text, user_path
from nasi_ray.ranking.notations import Notations, is_heading
from nasi_ray.spaces import get_tabular_space
from nasi_ray.spaces.base import Keys, first_positions

_MAX_NAMED = 5
_MAX_SHOWN = 300
_MAX_FILE_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The architectures asked for."""

    positions: IntArray
    """In the space's enumeration, ascending, each distinct architecture once."""
    given: Mapping[int, list[str]] = field(default_factory=dict)
    """Position -> how a file writes it, each spelling once; empty without a file."""


@cache
def distinct_positions(name: str) -> IntArray:
    """The first position of each distinct architecture in a space's enumeration, ascending.

    For S1, S2 and S3 cells are the same if their NAS-Bench-101 hash is: loose ends pruned, up to
    isomorphism (2,685, 7,773 and 55,854). NAS-Bench-201 counts each of its strings (15,625).

    Args:
        name: Of a ranked space.
    """
    return np.unique(_first_positions(name))


def representative(name: str, position: int) -> int:
    """The first position in the enumeration that holds the same architecture."""
    return int(_first_positions(name)[position])


def select_architectures(name: str, wanted: str, *, subset_seed: int = 0) -> Selection:
    """The architectures asked for.

    Args:
        name: Of a ranked space.
        wanted: ``all``; a number n of random ones; or a file with one architecture a line, in one
            of the notations that ``docs/ranking.md`` lists. Empty lines and lines that begin with #
            are left out.
        subset_seed: Which random ones (≥ 0). A larger n takes the same and more.

    Raises:
        ConfigError: If the number is 0 or larger than the space.
        DataError: If the file is missing, empty, or has lines that are not architectures.
    """
    if wanted == "all":
        return Selection(distinct_positions(name))
    try:
        number = int(wanted)
    except ValueError:
        return _read_file(name, user_path(wanted))
    positions = distinct_positions(name)
    if not 1 <= number <= len(positions):
        raise ConfigError(
            f"architectures is {number}; {name} has {len(positions)} distinct ones: give 1 to "
            f"{len(positions)}, all, or a file"
        )
    order = np.random.default_rng(subset_seed).permutation(len(positions))
    return Selection(np.sort(positions[order[:number]]))


@cache
def table_keys(name: str) -> Keys:
    """The table keys of a space's configurations, in the order of its enumeration.

    Args:
        name: Of a tabular space.
    """
    return get_tabular_space(name).keys()


@cache
def _first_positions(name: str) -> IntArray:
    """Of every position: the first one with the same architecture; shape (num_architectures,)."""
    return first_positions(table_keys(name))


@cache
def _by_hash(name: str) -> dict[bytes, int]:
    """The first position of every hash of a space of NAS-Bench-101 cells."""
    keys = table_keys(name)
    return {bytes(keys[position]): position for position in distinct_positions(name).tolist()}


def _lines(path: Path) -> list[str]:
    try:
        return read_text(path, _MAX_FILE_BYTES).splitlines()
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is not a text file; give a file with one architecture string a line"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"architectures is {str(path)!r}, which cannot be read ({reason}); give all, a number "
            "of random ones, or a file with one architecture string a line"
        ) from None


def _read_file(name: str, path: Path) -> Selection:
    space, bad = get_tabular_space(name), []
    notations = Notations(space, partial(_by_hash, name))
    given: dict[int, dict[str, None]] = {}
    is_first = True
    for number, line in enumerate(_lines(path), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            architecture, spelling = notations.read(text)
            given.setdefault(representative(name, architecture), {})[spelling] = None
        except InvalidGenotypeError as error:
            if not (is_first and is_heading(text)):
                bad.append(f"line {number}: {str(error)[:_MAX_SHOWN]}")
        is_first = False
    if bad:
        more = f"; and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
        raise DataError(
            f"{path} has lines that are not {name} cells: {'; '.join(bad[:_MAX_NAMED])}{more}"
        )
    if not given:
        raise DataError(
            f"{path} has no architecture; give one a line, as {space.architecture(0).to_string()}"
        )
    return Selection(
        np.array(sorted(given), dtype=np.int64),
        {position: list(spellings) for position, spellings in sorted(given.items())},
    )
