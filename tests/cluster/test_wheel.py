"""The cluster's commands from an installed wheel, in a folder without the repository."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from nasi_ray.cluster.parameters import RUNTIME_ENV, TEMPLATES, template_path
from tests.cluster.filled import VALUES
from tests.cluster.loopback_head import ROOT, loopback_head

SHIPPED = (*TEMPLATES, RUNTIME_ENV)


def test_a_wheel_gets_every_file_where_the_package_looks_for_it() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wheel = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
    included = wheel["force-include"]
    assert all((ROOT / source).exists() for source in included)
    assert all(target == f"nasi_ray/cluster/templates/{s}" for s, target in included.items())
    for name in SHIPPED:
        assert any(name == source or name.startswith(f"{source}/") for source in included), name


def test_in_a_checkout_the_files_are_those_of_the_repository() -> None:
    assert [template_path(name) for name in SHIPPED] == [ROOT / name for name in SHIPPED]


def test_the_commands_are_light_to_import() -> None:
    modules = ("render", "submit", "validate", "spot_watcher")
    code = "import sys, {}; print([m for m in ('torch', 'ray', 'boto3') if m in sys.modules])"
    imports = ", ".join(f"nasi_ray.cluster.{module}" for module in modules)
    done = subprocess.run(
        [sys.executable, "-c", code.format(imports)], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as a wheel installs it."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # Without the build backend here, pip fetches it.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    subprocess.run([*pip, "wheel", "--no-deps", *isolation, "-w", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("nasi_ray-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder, wheel], check=True)
    return folder


def run(
    installed: Path, cwd: Path, module: str, *args: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``python -m module`` with the installed package."""
    return subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=cwd,
        env={**(os.environ if environ is None else environ), "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
@pytest.mark.integration
def test_rendered_from_a_wheel_every_file_is_valid(installed: Path, tmp_path: Path) -> None:
    environ = {**os.environ, **VALUES, "HOME": str(tmp_path / "home")}
    rendered = run(installed, tmp_path, "nasi_ray.cluster.render", environ=environ)
    assert rendered.returncode == 0, rendered.stderr
    files = rendered.stdout.splitlines()
    assert files == [f"build/cluster/{Path(name).name}" for name in TEMPLATES]
    checked = run(installed, tmp_path, "nasi_ray.cluster.validate", *files)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.splitlines() == [f"{file}: ok" for file in files]
    locked = run(installed, tmp_path, "nasi_ray.cluster.lock")
    assert (locked.returncode, locked.stdout) == (2, "")
    assert locked.stderr.startswith("error: the lock is made in a checkout")


@pytest.mark.slow
@pytest.mark.integration
def test_a_job_submitted_from_a_wheel_runs_the_installed_package(
    installed: Path, tmp_path: Path
) -> None:
    search = ("search", "--num-samples", "2", "--batch-size", "4", "--image-size", "8")
    out = tmp_path / "run"
    with loopback_head() as head:
        submitted = run(
            installed,
            tmp_path,
            "nasi_ray.cluster.submit",
            *("--address", head.address, "--run-id", "wheel", "--attempts", "1", "--"),
            *(*search, "--num-workers", "1", "--out", str(out)),
            environ=head.environ(),
        )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert json.loads((out / "result.json").read_text())["num_samples"] == 2
