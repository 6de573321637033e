"""Make the spaces, proxies and data sources that users added known to the workers of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from nasi_ray.data.sources import SOURCES
from nasi_ray.proxies import PROXIES
from nasi_ray.registry import Registry
from nasi_ray.spaces import SPACES

T = TypeVar("T")

_REGISTRIES: dict[str, Registry[Any]] = {"spaces": SPACES, "proxies": PROXIES, "data": SOURCES}


def added() -> dict[str, dict[str, Any]]:
    """Registry -> what was added to it in this process."""
    return {name: registry.added() for name, registry in _REGISTRIES.items()}


def make_with_added(
    extensions: Mapping[str, Mapping[str, Any]], factory: Callable[..., T], *args: Any
) -> T:
    """Add the same names here, then call ``factory(*args)``; a worker runs this first."""
    for registry, things in extensions.items():
        for name, thing in things.items():
            _REGISTRIES[registry].add(name, thing)
    return factory(*args)
