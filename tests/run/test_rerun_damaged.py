"""The same command on a finished run with a damaged file: the same answer, or the file is named.

Readers of damaged runs are in ``tests/run/test_damaged_runs.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.errors import NasiRayError
from nasi_ray.ranking.job import run_rank
from nasi_ray.ranking.settings import parse_rank
from nasi_ray.study.job import run_study
from nasi_ray.study.settings import parse_study
from nasi_ray.sweep.job import run_sweep
from nasi_ray.sweep.settings import parse_sweep
from tests.toy import Quiet
from tests.training.trainings import train

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

TINY = ("--space", "nb201", "--batch-size", "2", "--image-size", "8", "--num-workers", "0")
SEARCHES = (
    *TINY, "--init-channels", "2", "--num-cells", "3", "--num-samples", "2", "--seeds", "0", "1",
)  # fmt: skip
RANKING = (
    *TINY, "--num-channels", "2", "--architectures", "2", "--proxies", "synflow", "naswot",
)  # fmt: skip
Answer = tuple[Any, list[str]]
"""What must be the same, and what was said of the parts that failed."""


def sweep(out: Path) -> Answer:
    result = run_sweep(parse_sweep([*SEARCHES, "--out", str(out)]), Quiet())
    (point,) = result.content["combinations"]
    found = [(one["seed"], one["architecture"]) for one in point["searches"]]
    return (found, point["consensus"]["alpha"]), list(result.content["failures"].values())


def study(out: Path) -> Answer:
    asked = parse_study(["cells", *SEARCHES, "--out", str(out)])
    return run_study(asked, Quiet(), command="study").content["result"], []


def ranking(out: Path) -> Answer:
    result = run_rank(parse_rank([*RANKING, "--out", str(out)]), Quiet())
    scores = {name: found.scores.tolist() for name, found in result.scores.by_proxy.items()}
    return scores, []


def training(out: Path) -> Answer:
    result = train(out, epochs=1)
    return (result.top1, result.content["test_loss"]), []


RUN: dict[str, Callable[[Path], Answer]] = {
    "sweep": sweep,
    "study": study,
    "ranking": ranking,
    "training": training,
}
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "junk": lambda good: b"\x00\xff[{\n" * 40,
    "null": lambda good: b"null",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Answer]]:
    """Kind -> a finished run and its answer."""
    made: dict[str, tuple[Path, Answer]] = {}

    def make(kind: str) -> tuple[Path, Answer]:
        if kind not in made:
            out = tmp_path_factory.mktemp(kind) / "run"
            made[kind] = out, RUN[kind](out)
        return made[kind]

    return make


def files_of(run: Path) -> list[str]:
    """The files of a run, and of its first search."""
    names = sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())
    searches = sorted({name.split("/")[1] for name in names if name.startswith("runs/")})
    return [
        name for name in names if not name.startswith(tuple(f"runs/{s}/" for s in searches[1:]))
    ]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", RUN)
def test_the_same_command_answers_or_names_the_file(
    tmp_path: Path, finished: Callable[[str], tuple[Path, Answer]], kind: str, damage: str
) -> None:
    run, (expected, failures) = finished(kind)
    names = files_of(run)
    assert len(names) > 8
    assert not failures
    for number, name in enumerate(names):
        copy = Path(shutil.copytree(run, tmp_path / str(number)))
        (copy / name).write_bytes(DAMAGE[damage]((run / name).read_bytes()))
        try:
            answer, told = RUN[kind](copy)
        except NasiRayError as error:
            answer, told = None, [str(error)]
        if not told:
            assert answer == expected, name
        for line in told:
            assert str(copy / name) in line, (name, line)
            assert "\n" not in line
            assert len(line) < 3000
