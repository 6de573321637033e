"""Things by name: the package's own, those of installed plug-ins, and those added by hand."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from nasi_ray.errors import ConfigError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names and what they stand for; a thing is imported when it is first looked up.

    A plug-in is an entry point of a group: a name, and ``module:attribute``. Plug-ins cannot
    replace the package's own names.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, T | str]) -> None:
        """Start with the package's own names.

        Args:
            kind: What messages call one: ``space``.
            group: Group of the entry points: ``nasi_ray.spaces``.
            own: Name -> the thing, or ``module:attribute`` where importing it takes long.
        """
        self.kind, self._group = kind, group
        self._own: dict[str, T | str] = dict(own)
        self._loaded: dict[str, T] = {}
        self._added: dict[str, T] = {}

    def names(self) -> list[str]:
        """All names, the package's own first."""
        return list(dict.fromkeys([*self._own, *self._plugins, *self._added]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self._own or name in self._added or name in self._plugins

    def get(self, name: str) -> T:
        """Look a name up.

        Raises:
            UnknownNameError: If the name is not known.
            ConfigError: If it is a plug-in that cannot be imported.
        """
        if name in self._own:
            own = self._own[name]
            if isinstance(own, str):
                own = self._own[name] = cast(T, import_from(own))
            return own
        if name in self._added:
            return self._added[name]
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._plugins:
            raise UnknownNameError(self.kind, name, self.names())
        point = self._plugins[name]
        try:
            loaded: T = point.load()
        except Exception as error:
            raise ConfigError(
                f"{self.kind} {name!r} is the plug-in {point.value}, which cannot be imported "
                f"({type(error).__name__}: {error}); repair or uninstall its package"
            ) from error
        self._loaded[name] = loaded
        return loaded

    def add(self, name: str, thing: T) -> None:
        """Add a name in this process and on the workers of its runs.

        Args:
            name: The name; one that was added before is replaced.
            thing: What it stands for. It is pickled for the workers: definitions of a script or
                notebook travel by value, imported ones by name.

        Raises:
            ConfigError: If the name is one of the package's own.
        """
        if name in self._own:
            raise ConfigError(f"{self.kind} {name!r} is built into nasi_ray; choose another name")
        self._added[name] = thing

    def added(self) -> dict[str, T]:
        """What was added in this process; other processes do not know it."""
        return dict(self._added)

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self._group)}


def import_from(where: str) -> Any:
    """Import ``module:attribute``.

    Raises:
        ImportError: If there is no such module.
        AttributeError: If it has no such attribute.
    """
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)
