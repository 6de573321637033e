"""What is wrong with a file: where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One finding."""

    place: str
    """Path in the file, such as ``available_node_types.head.node_config``."""
    message: str

    def __str__(self) -> str:
        return " ".join(f"{self.place}: {self.message}".split())


def strings_in(content: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Place and value of each string below a JSON-like value, keys of mappings included."""
    if isinstance(content, str):
        yield place or ".", content
    elif isinstance(content, dict):
        for key, value in content.items():
            inner = f"{place}.{key}" if place else str(key)
            yield inner, str(key)
            yield from strings_in(value, inner)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from strings_in(value, f"{place}[{index}]")


def mapping(content: Any, *keys: str) -> dict[str, Any]:
    """The mapping at a path of keys, empty where there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def sequence(content: Any, *keys: str) -> list[Any]:
    """The list at a path of keys, empty where there is none."""
    found = mapping(content, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, list) else []
