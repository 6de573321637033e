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
    """Names and what they stand for; nothing is imported before it is asked for.

    A plug-in is an entry point of a group: its name, and ``module:attribute``. The package's own
    names cannot be taken by others.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, T | str]) -> None:
        """Begin with the package's own.

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
        """All names there are, the package's own first."""
        return list(dict.fromkeys([*self._own, *self._plugins, *self._added]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self._own or name in self._added or name in self._plugins

    def get(self, name: str) -> T:
        """Look one up.

        Raises:
            UnknownNameError: If there is none of that name.
            ConfigError: If it is a plug-in's, which cannot be imported.
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
        """Add one by hand, for this process and for the workers of its runs.

        Args:
            name: Its name; one that was added before is replaced.
            thing: What it stands for. It is sent to the workers as pickles are: what is defined in
                a script or notebook by value, what is imported by name.

        Raises:
            ConfigError: If the package itself has something of that name.
        """
        if name in self._own:
            raise ConfigError(f"{self.kind} {name!r} is the package's own; choose another name")
        self._added[name] = thing

    def added(self) -> dict[str, T]:
        """What was added by hand in this process, and is not known to others."""
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
