"""Lists of DARTS cells as ranked spaces: read from a file, kept in the run directory.

A list becomes a space of its own, named after a digest of its cells. It is added under that name,
as a user's own space is, so that workers know it, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nasi_ray.errors import ConfigError, DataError, InvalidGenotypeError, RecordCorruptError
from nasi_ray.files import open_regular, read_text, user_path
from nasi_ray.spaces import SPACES, Genotype
from nasi_ray.spaces.listed import ListedSpace
from nasi_ray.storage import Storage

LIST_NAME = "architectures.txt"
"""File of a run that holds its list, one cell a line."""

_FORMATS = "one cell a line (JSON or Genotype(...)), or a Parquet file with a column 'genotype'"
_MAX_NAMED = 5
_MAX_FILE_BYTES = 1 << 28


def read_list(wanted: str) -> ListedSpace:
    """The space of the cells in a file; it is added to the known spaces.

    Args:
        wanted: ``--architectures``: a text file of one cell a line, where empty lines and lines
            that begin with # are left out, or a Parquet file with a column ``genotype``.

    Raises:
        ConfigError: If it is no file but ``all`` or a number.
        DataError: If the file is missing, empty, or holds what are not cells.
    """
    if wanted == "all" or wanted.isdigit():
        raise ConfigError(
            f"architectures is {wanted}, but DARTS cells cannot be enumerated; give a file of "
            f"{_FORMATS}"
        )
    path = user_path(wanted)
    try:
        with open_regular(path) as file:
            is_parquet = file.read(4) == b"PAR1"
        texts = _column(path) if is_parquet else read_text(path, _MAX_FILE_BYTES).splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text file; give a file of {_FORMATS}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"architectures is {wanted!r}, which cannot be read ({reason}); give a file of "
            f"{_FORMATS}"
        ) from None
    return _added(ListedSpace(_parse(texts, path, "row" if is_parquet else "line")))


def store_list(storage: Storage, space: ListedSpace) -> None:
    """Keep a run's list with its records."""
    text = "".join(f"{genotype.key}\n" for genotype in space)
    storage.write(LIST_NAME, text.encode())


def restore_list(storage: Storage, name: str) -> None:
    """Add the space of a stored run to the known ones, if it is a list's.

    Args:
        storage: The run directory.
        name: Of the space, as the run's records have it.

    Raises:
        RecordCorruptError: If the list is missing or was altered.
    """
    if name in SPACES or not name.startswith("darts-"):
        return
    try:
        lines = storage.read(LIST_NAME).decode().splitlines()
        space = ListedSpace([Genotype.parse(line) for line in lines])
    except (FileNotFoundError, ValueError, InvalidGenotypeError):
        space = ListedSpace([])
    if space.name != name:
        raise RecordCorruptError(
            f"{storage.uri}/{LIST_NAME} does not hold the cells that were ranked; run the same "
            "command again, which writes it"
        )
    _added(space)


def _added(space: ListedSpace) -> ListedSpace:
    SPACES.add(space.name, space)
    return space


def _column(path: Path) -> list[str]:
    from nasi_ray.parquet_file import UNREADABLE, read_table, reason_of  # takes long to import

    try:
        table = read_table(path)
        names = table.column_names
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read as Parquet: {reason_of(error)}") from None
    if names.count("genotype") != 1:
        raise DataError(f"{path} has columns {', '.join(names)}; it needs 'genotype'")
    cells = table["genotype"].to_pylist()
    return [str(cell) for cell in cells]


def _parse(texts: Iterable[str], path: Path, unit: str) -> list[Genotype]:
    found, bad = [], []
    for number, line in enumerate(texts, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            found.append(Genotype.parse(text))
        except InvalidGenotypeError as error:
            bad.append(f"{unit} {number}: {error}")
    if bad:
        more = f"; and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
        raise DataError(
            f"{path} has entries that are not DARTS cells: {'; '.join(bad[:_MAX_NAMED])}{more}"
        )
    if not found:
        raise DataError(f"{path} has no cell; give {_FORMATS}")
    return found
