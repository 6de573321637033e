"""Names of splits in the names of files and folders."""

from __future__ import annotations

import re

_SPELLINGS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "tst"),
}
_SPLIT_OF = {word: split for split, words in _SPELLINGS.items() for word in words}
# Letters in a row; a capital after a small letter begins a new word, as in CifarTrain.
_WORD = re.compile(r"[^\W\d_]+?(?=(?<=[a-z])[A-Z]|[\W\d_]|$)")


def canonical(split: str) -> str:
    """``train``, ``validation`` or ``test`` for its other spellings; other names as they are."""
    return _SPLIT_OF.get(split.lower(), split)


def words(name: str) -> list[str]:
    """The words of a name in lower case; digits and punctuation separate them."""
    return [word.lower() for word in _WORD.findall(name)]


def spellings_in(name: str) -> list[str]:
    """The words of a name that name a split, in the order of the name."""
    return [word for word in words(name) if word in _SPLIT_OF]


def splits_in(name: str, wanted: str) -> set[str]:
    """The splits that a name holds, canonical.

    Args:
        name: Of a folder, or of a file without its suffix.
        wanted: Also found if it is not one of the usual splits, at the start of the name.
    """
    if wanted.lower() not in _SPLIT_OF and re.match(rf"{re.escape(wanted)}([-_.]|$)", name):
        return {wanted}
    return {_SPLIT_OF[word] for word in spellings_in(name)}


def is_split(name: str, wanted: str) -> bool:
    """Whether a whole name is that of a split, in any case."""
    return name == wanted or name.lower() in _SPLIT_OF


def is_meant(name: str, wanted: str) -> bool:
    """Whether a file or folder without splits can be read as a split.

    Args:
        name: Of the file, without its suffix, or of the folder.
        wanted: ``train``, which is the default, or a split that must be in the name.
    """
    return canonical(wanted) == "train" or canonical(wanted) in splits_in(name, wanted)
