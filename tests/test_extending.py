"""``docs/extending.md`` is followed word for word: its files, its entry points, its commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and the metadata that installing them would leave."""
    folder = tmp_path_factory.mktemp("toy")
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.S):
        (folder / name).write_text(code)
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.S)
    project = tomllib.loads(block)["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [
        f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in of.items()) for group, of in groups
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


def run(folder: Path, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd or folder, env=environ, capture_output=True, text=True
    )


def test_the_page_works_as_written(package: Path) -> None:
    made = run(package, "make_table.py")
    assert made.returncode == 0, made.stderr
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, flags=re.S)
    commands = [shlex.split(line.removeprefix("$ ")) for line in block.splitlines()]
    assert [command[:2] for command in commands] == [
        ["nasi-ray", job] for job in ("search", "rank", "study", "show")
    ]
    for command in commands:
        done = run(package, "-m", "nasi_ray", *command[1:])
        assert done.returncode == 0, done.stderr
    assert "skip" in done.stdout or "conv" in done.stdout
    result = json.loads((package / "runs/toy/result.json").read_text())
    assert result["architecture"].count(">") == 1
    assert result["samples"]["num_classes"] == 2
    ranking = json.loads((package / "runs/toy-rank/ranking.json").read_text())
    assert {p["name"] for p in ranking["proxies"]} >= {"logit_spread", "trace_norm", "num_params"}
    assert all(p["spearman"]["n"] == 9 for p in ranking["proxies"])
    study = json.loads((package / "runs/toy-study/effectiveness-toy.json").read_text())
    assert study["result"]["reference"]["best"] == pytest.approx(30.0)


@pytest.mark.timeout(240)
def test_plugins_work_on_ray_workers_and_give_the_same_samples(package: Path) -> None:
    common = (
        *("-m", "nasi_ray", "search", "--space", "toy", "--data", "stripes", "--image-size", "8"),
        *("--num-samples", "12", "--batch-size", "4", "--init-channels", "4"),
    )
    alphas = []
    for workers in ("0", "2"):
        out = package / f"runs/with-{workers}"
        done = run(package, *common, "--num-workers", workers, "--out", str(out))
        assert done.returncode == 0, done.stderr
        alphas.append(json.loads((out / "result.json").read_text())["alpha"])
    assert alphas[0] == alphas[1]


COMMANDS = """
from nasi_ray.command import main

search = ("search", "--space", "toy", "--num-workers", "0")
for flags in (("--preset", "nasi-panel"), ("--max-params", "1e6")):
    print(main((*search, *flags)))
"""


def test_a_space_without_costs_is_told_what_it_cannot_do(package: Path) -> None:
    done = run(package, "-c", COMMANDS)
    assert done.stdout.split() == ["2", "2"], done.stderr
    lines = done.stderr.splitlines()
    for line, message in zip(
        lines,
        (
            "every cell, which needs a method `costs` of space 'toy'; choose",
            "space 'toy' has no method `costs`, which max_params and max_madds",
        ),
        strict=True,
    ):
        assert line.startswith("error: ")
        assert message in line


COSTS = """
import numpy as np
import torch

from nasi_ray.nasi.loss import LOSSES
from nasi_ray.proxies import get_proxy
from nasi_ray.search.settings import auto_preset
from nasi_ray import add_space
from toy_networks import Network
from toy_space import KERNEL_SIZES, OPS, ToySpace

{method}

class Known(ToySpace):
    name = "known"
    costs = costs

add_space(ToySpace())
add_space(Known())
print(auto_preset("toy"), auto_preset("known"), auto_preset("known", has_budget=True))
params, multiply_adds = Known().costs("params"), Known().costs("multiply_adds")
x = torch.zeros(2, 3, 32, 32)
for cell, num, madds in zip(ToySpace(), params.flat, multiply_adds.flat, strict=True):
    assert num == cell.num_params() == sum(p.numel() for p in Network(cell).parameters())
    assert madds == get_proxy("multiply_adds").score(
        Network(cell), x, torch.zeros(2), loss=LOSSES["mse"]
    )
"""


DRAWN = """
from nasi_ray.search.cell_plot import save_architecture_plot
from nasi_ray.spaces import Arc, CellGraph, Vertex
from toy_space import OPS, ToyCell, ToySpace

{method}

cell = ToyCell((OPS[0], OPS[2]))
assert save_architecture_plot(cell) is None
ToyCell.graph = graph
assert set(arc.decision for arc in cell.graph().arcs) == set(d.name for d in ToySpace().decisions)
print(save_architecture_plot(cell)["png"][1:4].decode())
"""


def test_the_graph_of_the_page_is_drawn(package: Path) -> None:
    (method,) = re.findall(r"```python\n(def graph.*?)```", PAGE, flags=re.S)
    (package / "check_graph.py").write_text(DRAWN.format(method=method))
    done = run(package, "check_graph.py")
    assert (done.returncode, done.stdout) == (0, "PNG\n"), done.stderr


def test_the_costs_of_the_page_are_those_of_its_networks(package: Path) -> None:
    (method,) = re.findall(r"```python\n(def costs.*?)```", PAGE, flags=re.S)
    (package / "check_costs.py").write_text(COSTS.format(method=method))
    done = run(package, "check_costs.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["nasi-relative", "nasi-panel", "nasi-balanced"]


BY_HAND = """
import nasi_ray

{code}

TOY.__class__.networks = staticmethod(networks)
nasi_ray.add_space(TOY)
nasi_ray.add_proxy(LOGIT_SPREAD)
nasi_ray.add_data_source("stripes", stripes)
tiny = dict(image_size=8, batch_size=4, progress=None)
found = [
    nasi_ray.search(
        "toy", data="stripes", num_samples=6, init_channels=4, num_workers=n,
        out=f"hand-{{n}}", **tiny,
    )
    for n in (0, 2)
]
assert found[0].estimate.alpha.tolist() == found[1].estimate.alpha.tolist()
ranked = nasi_ray.rank("toy", proxies=["logit_spread"], num_workers=2, out="hand-rank", **tiny)
assert ranked.num_lost == 0
assert len(ranked.to_pandas()) == 9
print("done")
"""


@pytest.mark.timeout(240)
def test_what_a_script_defines_itself_works_on_ray_workers(package: Path, tmp_path: Path) -> None:
    names = ("toy_space", "toy_networks", "toy_proxy", "toy_data")
    code = "\n".join((package / f"{name}.py").read_text() for name in names)
    code = re.sub(r"^from toy_space import .*\n", "", code, flags=re.M)
    (tmp_path / "script.py").write_text(BY_HAND.format(code=code))
    done = run(ROOT, str(tmp_path / "script.py"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nasi_ray.spaces]\nbroken = no_such_module:SPACE\n")
    done = run(tmp_path, "-m", "nasi_ray", "search", "--space", "broken", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "space 'broken' is the plug-in no_such_module:SPACE, which cannot be imported" in line
