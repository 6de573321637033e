"""Data sets below an S3 prefix, as paths: the part of ``pathlib.Path`` that finding images needs.

The prefix is listed once. Light to import.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from nasi_ray.errors import DataError
from nasi_ray.files import open_regular, read_bytes

if TYPE_CHECKING:
    from typing import BinaryIO

    from nasi_ray.storage.s3_files import S3Object

PREFIX = "s3://"


@dataclass(frozen=True, slots=True, eq=False)
class _Folder:
    """What is directly in a folder."""

    folders: dict[str, _Folder]
    files: dict[str, S3Object]


class S3Path:
    """A folder or an object; compares and sorts as its URI."""

    __slots__ = ("_bucket", "_folder", "_key", "object")

    def __init__(
        self, bucket: str, key: PurePosixPath, folder: _Folder | None, found: S3Object | None
    ) -> None:
        self._bucket, self._key, self._folder = bucket, key, folder
        self.object = found
        """The object; None for a folder and for what is not there."""

    def __str__(self) -> str:
        key = "" if self._key == PurePosixPath() else str(self._key)
        return f"{PREFIX}{self._bucket}/{key}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Path) and str(self) == str(other)

    def __lt__(self, other: S3Path) -> bool:
        return self._key.parts < other._key.parts

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, name: str) -> S3Path:
        inside = self._folder or _Folder({}, {})
        return S3Path(
            self._bucket, self._key / name, inside.folders.get(name), inside.files.get(name)
        )

    @property
    def name(self) -> str:
        """The last part of the key; of the whole bucket, its name."""
        return self._key.name or self._bucket

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> PurePosixPath | S3Path:
        """The folder, only to be named and compared."""
        return S3Path(self._bucket, self._key.parent, None, None)

    def relative_to(self, other: S3Path) -> PurePosixPath:
        """The key from a folder on."""
        return self._key.relative_to(other._key)

    def is_dir(self) -> bool:
        """Whether keys begin with it and a slash."""
        return self._folder is not None

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self.object is not None

    def exists(self) -> bool:
        """Whether it is one or the other."""
        return self.is_dir() or self.is_file()

    def iterdir(self) -> Iterator[S3Path]:
        """What is directly in the folder."""
        inside = self._folder or _Folder({}, {})
        for name in {**inside.folders, **inside.files}:
            yield self / name

    def glob(self, pattern: str) -> Iterator[S3Path]:
        """What is in the folder, for the patterns ``*`` and ``*/*``."""
        first, _, rest = pattern.partition("/")
        for path in self.iterdir():
            if fnmatchcase(path.name, first):
                if not rest:
                    yield path
                elif path.is_dir():
                    yield from path.glob(rest)

    def walk(self) -> Iterator[tuple[S3Path, list[str], list[str]]]:
        """As ``os.walk``: folders that are taken from the list are not entered."""
        inside = self._folder or _Folder({}, {})
        folders, files = list(inside.folders), list(inside.files)
        yield self, folders, files
        for name in folders:
            yield from (self / name).walk()


DataPath = Path | S3Path
Reference: TypeAlias = "Path | S3Object"
"""A file or object by itself, small to pickle."""


def list_s3(uri: str) -> S3Path:
    """List what is at a URI: an object, or all that is below a prefix.

    Keys with an empty segment are left out.

    Raises:
        ConfigError: If it is no ``s3://bucket/prefix``.
        StorageError: If it cannot be listed.
    """
    from nasi_ray.storage import split_s3
    from nasi_ray.storage.s3_files import list_objects

    bucket, prefix = split_s3(uri)
    base, top = PurePosixPath(prefix), _Folder({}, {})
    found: S3Object | None = None
    # Of other objects that begin with the name of a folder there may be many.
    below = f"{prefix}/" if prefix else ""
    for item in list_objects(bucket, prefix if base.suffix else below):
        *folders, name = item.key.removeprefix(below).split("/")
        if item.key == prefix:
            found = item
        elif item.key.startswith(below) and all((*folders, name)):
            folder = top
            for part in folders:
                folder = folder.folders.setdefault(part, _Folder({}, {}))
            folder.files[name] = item
    is_folder = bool(top.folders or top.files)
    return S3Path(bucket, base, top if is_folder else None, found)


_listed: dict[str, S3Path] = {}


def list_once(uri: str) -> S3Path:
    """As ``list_s3``, and keep the list for ``listed_s3``."""
    _listed.clear()
    _listed[uri] = list_s3(uri)
    return _listed[uri]


def listed_s3(uri: str) -> S3Path:
    """As ``list_s3``; what ``list_once`` has just found is not listed again."""
    return _listed.pop(uri, None) or list_s3(uri)


def objects_below(path: S3Path) -> Iterator[S3Object]:
    """The object, and all below the folder, in the order of their keys."""
    found = [path.object] if path.object else []
    for folder, _, names in path.walk():
        found += [about for name in names if (about := (folder / name).object)]
    yield from sorted(found, key=lambda item: item.key)


def read_data(path: str, limit: int) -> bytes:
    """The content of a file, or of an object by its URI.

    Raises:
        DataError: If an object is gone, or larger than ``limit`` bytes.
        OSError: As ``files.read_bytes``.
        StorageError: If S3 cannot be reached.
    """
    if not path.startswith(PREFIX):
        return read_bytes(path, limit)
    from nasi_ray.storage.s3_files import read_object

    bucket, _, key = path.removeprefix(PREFIX).partition("/")
    return read_object(bucket, key, limit)


def open_data(path: Reference, buffer_size: int) -> BinaryIO | io.BufferedReader:
    """Open a file to seek in it; see ``files.open_regular`` and ``S3Object.open``."""
    return open_regular(path) if isinstance(path, Path) else path.open(buffer_size)


def reference(path: DataPath) -> Reference:
    """A file or object without the list it is in.

    Raises:
        DataError: If there is no such object.
    """
    if isinstance(path, Path):
        return path
    if path.object is None:
        raise DataError(f"{path}: no such object")
    return path.object


def size_of(path: DataPath) -> int:
    """Bytes of a file or object; -1 if it cannot be seen: reading it tells what is wrong."""
    if isinstance(path, S3Path):
        return path.object.size if path.object else -1
    try:
        return path.stat().st_size
    except OSError:
        return -1
