"""Which Parquet files of a directory are read: one split, and every file of it once."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from nasi_ray.data.left_out import is_housekeeping
from nasi_ray.data.s3_path import DataPath
from nasi_ray.data.splits import canonical, is_meant, spellings_in, splits_in
from nasi_ray.errors import DataError

_SHARD = re.compile(r"(.*?)([-_.]?)([0-9]{1,9})([-_]of[-_])([0-9]{1,9})(.*)", re.IGNORECASE)
_MAX_NAMED = 5


def find_files(directory: DataPath, suffix: str) -> list[DataPath]:
    """The files in a directory and its direct subfolders (``data/`` and the like), sorted.

    Args:
        directory: Hidden and housekeeping names in it are skipped.
        suffix: In lower case; a file's may be in any case.
    """
    inside: Iterator[Any] = itertools.chain(directory.glob("*"), directory.glob("*/*"))
    return sorted(
        path
        for path in inside
        if path.name.lower().endswith(suffix)
        and not path.is_dir()
        and not any(map(is_housekeeping, path.relative_to(directory).parts))
    )


def choose_split(files: Sequence[DataPath], directory: DataPath, split: str) -> list[DataPath]:
    """The files of one split; all files if none is named after a split.

    A file belongs to a split by a word of its name (``train-00000-of-00001.parquet``,
    ``cifar10_Train.parquet``) or else by one of its folder's (``train/0000.parquet``).

    Raises:
        DataError: If there are only other splits, or it is ambiguous which files are the split's.
    """
    by_split: dict[frozenset[str], list[DataPath]] = {}
    for path in files:
        by_split.setdefault(splits_of(path, directory, split), []).append(path)
    named = [splits for splits in by_split if splits]
    several = [splits for splits in named if len(splits) > 1]
    if several and len(by_split) > 1:
        names = _listed([path.name for splits in several for path in by_split[splits]])
        raise DataError(
            f"{directory}: these file names contain more than one split: {names}; rename the "
            "files, or give the path of one"
        )
    wanted = frozenset([canonical(split)])
    if not named and not is_meant(directory.name, split):
        raise DataError(
            f"{directory}: no split {split!r}: no file in it has a split's name; leave the split "
            "out, or give another directory"
        )
    if wanted not in by_split and named and not several:
        has = ", ".join(sorted(name for splits in named for name in splits))
        raise DataError(f"{directory}: no split {split!r}; it has {has}")
    chosen = by_split[wanted] if wanted in by_split else list(files)
    folders = sorted({str(path.parent) for path in chosen})
    if len(folders) > 1:
        raise DataError(
            f"{directory}: Parquet files in several folders; name one of {', '.join(folders)}"
        )
    _refuse_several_sets(chosen, directory)
    _refuse_incomplete(chosen)
    return chosen


def splits_of(path: DataPath, directory: DataPath, split: str) -> frozenset[str]:
    """The splits in the name of a file, else in that of its folder; arguments as above."""
    found = splits_in(path.stem, split)
    if not found and path.parent != directory:
        found = splits_in(path.parent.name, split)
    return frozenset(found)


def _refuse_several_sets(files: Sequence[DataPath], directory: DataPath) -> None:
    """Refuse files of one split whose names before the split differ, or spell it differently."""
    first_of: dict[tuple[str, ...], str] = {}
    for path in files:
        if spelled := spellings_in(path.stem):
            before = itertools.takewhile(
                lambda part: not spellings_in(part), re.split(r"[\W_]+", path.stem)
            )
            name = (*(part.lower() for part in before if not part.isdigit()), spelled[0])
            first_of.setdefault(name, path.name)
    if len(first_of) > 1:
        raise DataError(
            f"{directory}: files of several data sets, or several spellings of one split "
            f"({_listed(list(first_of.values()))}); name one file, or give each a directory"
        )


def _refuse_incomplete(files: Sequence[DataPath]) -> None:
    """Refuse sets of NAME-00000-of-00005 that lack files, or have one more than once."""
    shards: dict[str, list[re.Match[str]]] = {}
    for path in files:
        if match := _SHARD.fullmatch(path.name):
            shards.setdefault(match[1].lower(), []).append(match)
    whole = {path.stem.lower(): path.name for path in files}
    directory = files[0].parent
    for name, members in shards.items():
        counts = Counter(int(member[3]) for member in members)
        total = int(members[0][5])
        doubled = [m[0] for m in members if counts[int(m[3])] > 1 or int(m[5]) != total]
        if name in whole:
            doubled += [whole[name], members[0][0]]
        if doubled:
            raise DataError(
                f"{directory}: more than one set of the same files ({_listed(doubled)}); keep one "
                "set"
            )
        start = 1 if total in counts else 0  # some count from 1
        if missing := total - sum(start <= number < start + total for number in counts):
            absent = (n for n in range(start, start + total) if n not in counts)
            _, prefix, separator, number, of, count, end = (members[0][i] for i in range(7))
            names = [
                f"{prefix}{separator}{n:0{len(number)}}{of}{count}{end}"
                for n in itertools.islice(absent, _MAX_NAMED)
            ]
            more = f" and {missing - _MAX_NAMED} more" if missing > _MAX_NAMED else ""
            raise DataError(
                f"{directory}: only {total - missing} of {total} files are there; missing: "
                f"{', '.join(names)}{more}; add them, or give the path of one file"
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
