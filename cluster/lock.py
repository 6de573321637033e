"""Write the lock of the image: each package the project needs, at the version installed here.

    python -m cluster.lock > cluster/requirements.lock

What the packages say they need is followed from ``pyproject.toml``'s dependencies, so the
packages of the ``dev`` extra are left out. There are no hashes: those of the wheels for one
platform would have to be downloaded (gigabytes with CUDA), so the lock pins versions and trusts
the package index.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from nasi_ray.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent

_HEADER = """\
# Made by `python -m cluster.lock` for Linux x86-64 and Python {python}; versions, no hashes.
"""


def project_requirements() -> list[Requirement]:
    """The run-time dependencies in ``pyproject.toml``."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return [Requirement(text) for text in tomllib.load(file)["project"]["dependencies"]]


def installed_closure(requirements: Sequence[Requirement]) -> dict[NormalizedName, str]:
    """Name -> installed version of all that is needed, sorted by name.

    Args:
        requirements: Where to begin.

    Raises:
        ConfigError: If something needed is not installed.
    """
    versions: dict[NormalizedName, str] = {}
    todo = [(canonicalize_name(r.name), extra) for r in requirements for extra in {"", *r.extras}]
    seen = set(todo)
    while todo:
        name, extra = todo.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError as error:
            raise ConfigError(f"{name} is needed and not installed; install the project") from error
        versions[name] = found.version
        for text in found.requires or []:
            needed = Requirement(text)
            if _applies(needed, extra):
                more = {(canonicalize_name(needed.name), e) for e in {"", *needed.extras}}
                todo += more - seen
                seen |= more
    return dict(sorted(versions.items()))


def _applies(requirement: Requirement, extra: str) -> bool:
    if requirement.marker is None:
        return not extra
    try:
        return requirement.marker.evaluate({"extra": extra})
    except UndefinedEnvironmentName:
        return False


def parse_lock(text: str) -> dict[NormalizedName, str]:
    """Name -> version of a lock.

    Raises:
        ConfigError: If a line is no ``name==version``.
    """
    versions = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, is_pin, version = line.partition("==")
        if not is_pin or not version.strip():
            raise ConfigError(f"lock: {line!r} is no name==version")
        versions[canonicalize_name(name.strip())] = version.strip()
    return versions


def main() -> int:
    """Print the lock."""
    versions = installed_closure(project_requirements())
    sys.stdout.write(_HEADER.format(python=f"{sys.version_info.major}.{sys.version_info.minor}"))
    for name, version in versions.items():
        sys.stdout.write(f"{name}=={version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
