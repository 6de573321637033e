"""The options of ``docker run`` that a node's container may be started with, and what they say."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Sequence

from nasi_ray.errors import ConfigError

_LONG = {"e": "env", "l": "label", "m": "memory", "v": "volume"}
_WITH_VALUE = frozenset(
    {"cpus", "env", "gpus", "label", "log-driver", "log-opt", "memory", "shm-size"}
    | {"stop-timeout", "tmpfs", "ulimit", "volume"}
)
_FLAGS = frozenset({"init", "read-only"})
_DATA_ROOTS = ("/data/", "/mnt/")
"""Where a machine may have data to share; anything else may hold keys or start programs."""


def parse_options(options: Sequence[object]) -> list[tuple[str, str]]:
    """Split options as the shell and Docker do.

    Args:
        options: As in ``run_options``: several may stand in one text, or one in several.

    Returns:
        Name and value of each; an ``env`` without a value is the machine's, ``NAME=``.

    Raises:
        ConfigError: If one is not among those that a node may need.
    """
    try:
        words = iter(shlex.split(" ".join(str(option) for option in options)))
    except ValueError as error:
        raise ConfigError(f"cannot be split: {error}") from error
    found = []
    for word in words:
        name, value = _split(word)
        if name in _FLAGS:
            value = value or ""
        elif name not in _WITH_VALUE:
            known = ", ".join(sorted(_WITH_VALUE | _FLAGS))
            raise ConfigError(
                f"{word!r} may give the container rights over the machine; known are {known}"
            )
        found.append((name, next(words, "") if value is None else value))
    return found


def environment(options: Sequence[object]) -> dict[str, str]:
    """The variables that options set, the last of equal names.

    Raises:
        ConfigError: As ``parse_options``.
    """
    variables = (value.partition("=") for name, value in parse_options(options) if name == "env")
    return {name: value for name, _, value in variables}


def open_volumes(options: Sequence[object]) -> Iterator[str]:
    """Volumes that show the container more of the machine than its data.

    Raises:
        ConfigError: As ``parse_options``.
    """
    for name, value in parse_options(options):
        source = value.partition(":")[0]
        is_path = not source.replace("_", "").replace("-", "").isalnum()
        inside = posixpath.normpath(source) + "/"
        if name == "volume" and is_path and not inside.startswith(_DATA_ROOTS):
            yield source


def _split(word: str) -> tuple[str, str | None]:
    if word.startswith("--"):
        name, is_set, value = word[2:].partition("=")
        return name, value if is_set else None
    if word.startswith("-") and word[1:2] in _LONG:
        value = word[2:].removeprefix("=")
        return _LONG[word[1]], value or None
    return word, None
