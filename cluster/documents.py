"""Read a file of the cluster that may hold anything, in bounded time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from nasi_ray.errors import ConfigError

_MAX_BYTES = 2**18
_MAX_VALUES = 50_000
_MAX_DEPTH = 50
_TAGS = frozenset({"str", "int", "float", "bool", "null", "seq", "map", "merge"})
"""What JSON has too, and YAML's ``<<``."""


def read_text(path: Path) -> str:
    """Read a file of the cluster.

    Raises:
        ConfigError: If it is not there, no text, or too large to be one.
    """
    try:
        with path.open("rb") as file:
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
        Its documents, without empty ones: JSON's values, and mappings with text as keys.

    Raises:
        ConfigError: If it is malformed, or would be too large with its aliases filled in.
    """
    try:
        if is_json:
            _check_json(text)
        return [document for document in _load(yaml.SafeLoader(text)) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"no valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"nested deeper than {_MAX_DEPTH} levels") from error
    except (ValueError, LookupError) as error:
        raise ConfigError(f"no valid value: {error}") from error


def _check_json(text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise ConfigError(f"no valid JSON: {error}") from error


def _load(loader: Any) -> Iterator[Any]:
    """Build each document once its nodes are known to be few: merged aliases multiply then."""
    while loader.check_node():
        node = loader.get_node()
        _measure(node, 1, {}, set())
        yield loader.construct_document(node)


def _measure(node: Any, depth: int, known: dict[int, int], around: set[int]) -> int:
    """The number of values below a node, each alias counted as often as it is named."""
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
                raise _fault(key, "is a key and no text; put it in quotes")
            if key.value in names:
                raise _fault(key, f"gives {key.value!r} a second time")
            names.add(key.value)
            yield value


def _fault(node: Any, message: str) -> ConfigError:
    return ConfigError(f"line {node.start_mark.line + 1} {message}")
