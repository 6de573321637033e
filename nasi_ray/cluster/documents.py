"""Files with any content: read in bounded time, looked into, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nasi_ray.errors import ConfigError
from nasi_ray.files import open_regular

_MAX_BYTES = 2**18
_MAX_VALUES = 50_000
_MAX_DEPTH = 50
_TAGS = frozenset({"str", "int", "float", "bool", "null", "seq", "map", "merge"})
"""What JSON has too, and YAML's ``<<``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, where, and what to do."""

    place: str
    """Path in the file, such as ``available_node_types.head.node_config``."""
    message: str

    def __str__(self) -> str:
        return " ".join(f"{self.place}: {self.message}".split())


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        ConfigError: If it cannot be read, is not UTF-8, or is larger than 256 KiB.
    """
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than {_MAX_BYTES // 1024} KiB")
    return text


def parse_documents(text: str, *, is_json: bool = False) -> list[Any]:
    """Parse a file.

    Args:
        text: YAML, of which JSON is a part.
        is_json: Whether it must be JSON.

    Returns:
        Its documents without the empty ones. They hold only values that JSON has; keys are text.

    Raises:
        ConfigError: If it is malformed, or too large once its aliases are expanded.
    """
    try:
        if is_json:
            _check_json(text)
        return [document for document in _load(yaml.SafeLoader(text)) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"invalid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"nested deeper than {_MAX_DEPTH} levels") from error
    except (ValueError, LookupError) as error:
        raise ConfigError(f"invalid value: {error}") from error


def _check_json(text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise ConfigError(f"invalid JSON: {error}") from error


def _load(loader: Any) -> Iterator[Any]:
    """Build each document after counting its nodes: building multiplies merged aliases."""
    while loader.check_node():
        node = loader.get_node()
        _measure(node, 1, {}, set())
        yield loader.construct_document(node)


def _measure(node: Any, depth: int, known: dict[int, int], around: set[int]) -> int:
    """The number of values below a node, each alias counted as often as it is used."""
    if depth > _MAX_DEPTH:
        raise _fault(node, f"nested deeper than {_MAX_DEPTH} levels")
    if id(node) in around:
        raise _fault(node, "contains itself")
    if id(node) in known:
        return known[id(node)]
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    if tag not in _TAGS:
        raise _fault(node, f"is a {tag}; write it as text, in quotes")
    around.add(id(node))
    size = 1 + sum(_measure(child, depth + 1, known, around) for child in _children(node))
    around.remove(id(node))
    if size > _MAX_VALUES:
        raise _fault(node, f"holds more than {_MAX_VALUES} values")
    known[id(node)] = size
    return size


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        names = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith((":str", ":merge")):
                raise _fault(key, "is a key that is not text; put it in quotes")
            if key.value in names:
                raise _fault(key, f"gives {key.value!r} a second time")
            names.add(key.value)
            yield value


def _fault(node: Any, message: str) -> ConfigError:
    return ConfigError(f"line {node.start_mark.line + 1} {message}")
