"""Write the lock of the image: each package the project needs, at the version installed here.

    python -m nasi_ray.cluster.lock > cluster/requirements.lock

It follows the requirements of each package from ``pyproject.toml``'s dependencies on, so packages
of the ``dev`` extra are left out. There are no hashes: for them the wheels of one platform would
have to be downloaded (gigabytes with CUDA), so the lock pins versions and trusts the package index.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from nasi_ray.cluster.parameters import checkout
from nasi_ray.display.formats import escaped
from nasi_ray.errors import ConfigError

_HEADER = """\
# Made by `python -m nasi_ray.cluster.lock`: Linux x86-64, Python {python}; versions, no hashes.
"""


def project_requirements() -> list[Requirement]:
    """The run-time dependencies in ``pyproject.toml``.

    Raises:
        ConfigError: If the package was installed from a wheel, which has no such file.
    """
    root = checkout()
    if root is None:
        raise ConfigError("the lock is made in a checkout of the repository, not from a wheel")
    with (root / "pyproject.toml").open("rb") as file:
        return [Requirement(text) for text in tomllib.load(file)["project"]["dependencies"]]


def installed_closure(requirements: Sequence[Requirement]) -> dict[NormalizedName, str]:
    """Name -> installed version of all that requirements need, themselves included, by name.

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
        ConfigError: If a line is not ``name==version``.
    """
    versions = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, is_pin, version = line.partition("==")
        if not is_pin or not version.strip():
            raise ConfigError(f"lock: {line!r} is not name==version")
        versions[canonicalize_name(name.strip())] = version.strip()
    return versions


def main(argv: Sequence[str]) -> int:
    """Print the lock.

    Args:
        argv: Arguments without the program's name; it takes none.

    Returns:
        Exit status: 0, or 2 after one line on what is missing.
    """
    argparse.ArgumentParser(
        prog="python -m nasi_ray.cluster.lock", description="Print the lock of the image."
    ).parse_args(argv)
    try:
        versions = installed_closure(project_requirements())
    except ConfigError as error:
        sys.stderr.write(escaped(f"error: {error}") + "\n")
        return 2
    sys.stdout.write(_HEADER.format(python=f"{sys.version_info.major}.{sys.version_info.minor}"))
    for name, version in versions.items():
        sys.stdout.write(escaped(f"{name}=={version}") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
