"""What the manual says can be typed and found."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from nasi_ray.cluster.parameters import PARAMETERS
from nasi_ray.cluster.submit import parse_submission
from nasi_ray.search.settings import parse_search
from nasi_ray.training.settings import parse_train
from tests.cluster.test_launch_order import launches

ROOT = Path(__file__).parents[2]
README = (ROOT / "cluster/README.md").read_text()


def words_after(command: str, index: int = 0) -> list[str]:
    """The arguments of the first block that starts so, or of a later one."""
    blocks = re.findall(rf"^ +{re.escape(command)}(.*?)\n\n", README, re.DOTALL | re.MULTILINE)
    return shlex.split(blocks[index].replace("\\\n", " "))


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


def test_the_trainings_it_submits_are_accepted_and_get_their_machines() -> None:
    from ray.dashboard.modules.job.cli import submit

    small = parse_submission(words_after("nasi-ray cluster submit", 1))
    options = submit.make_context("submit", words_after("ray job submit", 1)).params
    script, *large = list(options["entrypoint"])[1:]
    assert (small.arguments[0], script) == ("train", "jobs/train.py")
    jobs = [parse_train(small.arguments[1:]), parse_train(large)]
    machines = [
        launches(
            int(job.compute.num_workers),
            job.compute.label_selector,
            threads=job.compute.threads_per_worker,
            is_gang=True,
        )
        for job in jobs
    ]
    assert machines == [{"train1": 1}, {"train8": 1}]
    assert [job.recipe for job in jobs] == ["cifar10", "imagenet"]
    for job in jobs:
        assert job.compute.device == "cuda"
        assert job.out.startswith("s3://$NASI_BUCKET/$NASI_PREFIX/")
        assert job.subject.genotype == SEARCH[-1]
    on_imagenet = jobs[1]
    assert on_imagenet.images.data.startswith("s3://$NASI_BUCKET/$NASI_PREFIX/")
    micro = on_imagenet.training.micro_batch_size
    assert isinstance(micro, int)
    assert on_imagenet.training.batch_size % (8 * micro) == 0


def test_the_costs_of_its_trainings_follow_from_its_prices() -> None:
    (prices,) = re.findall(r"^    (\{.*\})$", README, re.M)
    usd = json.loads(prices)
    rows = re.findall(r"^\| .* \| ([\d,]+) \| (\d+) \| ([\d.]+) \| ([\d,]+) \|$", README, re.M)
    images = [600 * 50_000, 250 * 1_281_167, 250 * 1_281_167]
    for row, num_images, kind in zip(rows, images, ["train1", "train8", "train8"], strict=True):
        rate, hours, per_hour, cost = (float(text.replace(",", "")) for text in row)
        exact = num_images / rate / 3600
        assert hours == round(exact)
        assert per_hour == pytest.approx(usd["head"] + usd[kind])
        assert cost == round(exact * per_hour)


def test_the_label_selector_it_names_is_accepted() -> None:
    (selector,) = re.findall(r"--label-selector '(.*?)'", README)
    assert parse_search(["--label-selector", selector]).compute.label_selector == selector


def test_each_parameter_without_a_default_gets_a_value() -> None:
    given = set(re.findall(r"\b(NASI_[A-Z_]+)=", README))
    assert {name for name, p in PARAMETERS.items() if p.default is None} <= given
