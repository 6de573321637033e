"""What the manual says can be typed and found."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

from nasi_ray.cluster.parameters import PARAMETERS
from nasi_ray.search.settings import parse_search

ROOT = Path(__file__).parents[2]
README = (ROOT / "cluster/README.md").read_text()


def words_after(command: str) -> list[str]:
    """The arguments of the first block that starts so."""
    block = re.search(rf"^ +{re.escape(command)}(.*?)\n\n", README, re.DOTALL | re.MULTILINE)
    assert block is not None
    return shlex.split(block[1].replace("\\\n", " "))


SUBMITTED = words_after("nasi-ray cluster submit")
SEARCH = SUBMITTED[SUBMITTED.index("--") + 1 :]


def test_modules_and_files_it_names_exist() -> None:
    commands = set(re.findall(r"nasi-ray cluster (\w+)", README))
    assert commands == {"render", "validate", "submit"}
    modules = {f"nasi_ray.cluster.{command}" for command in commands}
    modules |= set(re.findall(r"python -m ([\w.]+)", README))
    assert all(importlib.util.find_spec(module) for module in modules)
    here, code = README.split("## Files", 1)[1].split("The code, in `nasi_ray/cluster/`")
    for text, folder in ((here, "cluster"), (code, "nasi_ray/cluster")):
        files = re.findall(r"`([\w./-]+)`", "\n".join(re.findall(r"^\| `.*?(?= \|)", text, re.M)))
        assert len(files) > 5
        assert [name for name in files if not (ROOT / folder / name).exists()] == []


def test_the_search_it_submits_is_accepted() -> None:
    assert SUBMITTED[: SUBMITTED.index("--")] == [
        "--address",
        "http://127.0.0.1:8265",
        "--run-id",
        "first",
    ]
    assert SEARCH[0] == "search"
    job = parse_search(SEARCH[1:])
    assert (job.compute.num_workers, job.compute.gpus_per_worker) == (8, 1.0)
    assert job.compute.capacity_timeout_s == "auto"


def test_rays_own_command_submits_the_same_search() -> None:
    from ray.dashboard.modules.job.cli import submit

    given = submit.make_context("submit", words_after("ray job submit")).params
    assert (ROOT / given["runtime_env"]).samefile(ROOT / "cluster/runtime-env.json")
    assert (given["working_dir"], given["submission_id"]) == (".", "first-1")
    script, *arguments = list(given["entrypoint"])[1:]
    assert script == "jobs/search.py"
    assert parse_search(arguments) == parse_search(SEARCH[1:])


def test_the_label_selector_it_names_is_accepted() -> None:
    (selector,) = re.findall(r"--label-selector '(.*?)'", README)
    assert parse_search(["--label-selector", selector]).compute.label_selector == selector


def test_each_parameter_without_a_default_gets_a_value() -> None:
    given = set(re.findall(r"\b(NASI_[A-Z_]+)=", README))
    assert {name for name, p in PARAMETERS.items() if p.default is None} <= given
