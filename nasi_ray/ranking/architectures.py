"""The architectures of a ranking: positions in a space's enumeration, each cell once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.errors import ConfigError, DataError, InvalidGenotypeError
from nasi_ray.spaces import get_tabular_space
from nasi_ray.spaces.base import Keys, first_positions

_MAX_NAMED = 5


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


def select_positions(name: str, wanted: str, *, subset_seed: int = 0) -> IntArray:
    """Positions of the architectures asked for, ascending, each distinct architecture once.

    Args:
        name: Of a ranked space.
        wanted: ``all``; a number n of random ones; or a file with one architecture string a line,
            where empty lines and lines that begin with # are left out.
        subset_seed: Which random ones (≥ 0). A larger n takes the same and more.

    Raises:
        ConfigError: If the number is 0 or larger than the space.
        DataError: If the file is missing, empty, or has lines that are not architectures.
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


def _read_file(name: str, path: Path) -> IntArray:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
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
    space, bad = get_tabular_space(name), []
    positions: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            positions.append(space.index(space.parse(text)))
        except InvalidGenotypeError as error:
            bad.append(f"line {number}: {error}")
    if bad:
        more = f"; and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
        raise DataError(
            f"{path} has lines that are not {name} cells: {'; '.join(bad[:_MAX_NAMED])}{more}"
        )
    if not positions:
        raise DataError(
            f"{path} has no architecture; give one a line, as {space.architecture(0).to_string()}"
        )
    return np.unique(_first_positions(name)[positions])
