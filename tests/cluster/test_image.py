from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nasi_ray.cluster.lock import installed_closure, parse_lock, project_requirements
from nasi_ray.errors import ConfigError

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "cluster/Dockerfile").read_text()
LOCK = parse_lock((ROOT / "cluster/requirements.lock").read_text())


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [
        line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")
    ]


def test_the_base_is_named_exactly() -> None:
    assert instructions("FROM") == ["${BASE}"]
    (base,) = instructions("ARG")
    assert re.fullmatch(r"BASE=python:3\.11\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (ROOT / "cluster/Dockerfile.dockerignore").read_text().splitlines()
    for line in instructions("COPY"):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.split('/')[0]}" in ignore, source


def test_the_image_has_all_that_the_wheel_includes_before_it_is_built() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wheel = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {source for line in instructions("COPY") for source in line.split()[:-1]}
    for source in (*wheel["packages"], *wheel["force-include"]):
        assert copied & {source, source.split("/")[0]}, source
    assert DOCKERFILE.rindex("COPY") < DOCKERFILE.index("pip install --no-cache-dir --no-deps /opt")


def test_the_image_does_not_run_as_root_and_has_the_user_id_of_the_machine() -> None:
    assert instructions("USER") == ["ray"]
    assert DOCKERFILE.index("USER ray") > DOCKERFILE.rindex("RUN ")
    assert "--uid 1000" in DOCKERFILE
    assert re.search(r"^ENV HOME=/home/ray", DOCKERFILE, re.MULTILINE)


def test_what_ray_up_and_kuberay_need_inside_is_installed() -> None:
    (install,) = [line for line in instructions("RUN") if "apt-get install" in line]
    assert {"rsync", "openssh-client", "wget"} <= set(install.split())


def test_the_lock_satisfies_the_project_and_leaves_development_out() -> None:
    for requirement in project_requirements():
        assert requirement.specifier.contains(LOCK[canonicalize_name(requirement.name)]), (
            requirement
        )
    with (ROOT / "pyproject.toml").open("rb") as file:
        development = tomllib.load(file)["project"]["optional-dependencies"]["dev"]
    names = {Requirement(text).name for text in development} - {"boto3-stubs"}
    assert not names & set(LOCK)


def test_the_lock_names_all_that_the_installed_packages_ask_for() -> None:
    assert set(installed_closure(project_requirements())) <= set(LOCK)


def test_extras_and_markers_are_followed() -> None:
    assert "aiohttp" not in installed_closure([Requirement("ray")])
    assert "aiohttp" in installed_closure([Requirement("ray[default]")])
    assert "colorama" not in installed_closure([Requirement("click")])  # for Windows only


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such-package is needed and not installed"):
        installed_closure([Requirement("no-such-package")])


def test_a_lock_with_anything_but_pins_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'torch>=2\.6' is not name==version"):
        parse_lock("# comment\nray==2.60.0\ntorch>=2.6\n")
