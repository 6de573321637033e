"""Run directories of November 2026 are answered from, with nothing evaluated."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.errors import RecordConflictError
from nasi_ray.ranking.job import run_rank
from nasi_ray.ranking.settings import parse_rank
from nasi_ray.runner import InProcessRunner
from nasi_ray.search.job import run_search
from nasi_ray.search.settings import parse_search
from nasi_ray.study.job import run_study
from nasi_ray.study.settings import parse_study
from tests.toy import Quiet

pytestmark = pytest.mark.usefixtures("blank_pictures")

OLD = Path(__file__).parents[1] / "runs_2026_11"
FIX = ("--preset", "nasi-fix")
TINY = ("--batch-size", "4", "--image-size", "8", "--num-workers", "0")


@pytest.fixture(autouse=True)
def nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: object, indices: Sequence[int]) -> None:
        raise AssertionError(f"{list(indices)} would be evaluated")

    monkeypatch.setattr(InProcessRunner, "run", run)


def records_only(name: str, tmp_path: Path) -> Path:
    """A copy of a run directory without its answers."""
    copy = Path(shutil.copytree(OLD / name, tmp_path / name))
    for answer in [*copy.rglob("result.json"), *copy.glob("ranking.*"), *copy.glob("*-s1.*")]:
        answer.unlink()
    return copy


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def answers(old: Path, new: Path) -> list[tuple[Any, Any]]:
    """What was answered then and now."""
    then, now = read_json(old / "result.json"), read_json(new / "result.json")
    names = {"alpha", "genotype", "architecture", "margins", "margin_errors", "nu", "num_samples"}
    return [(then[name], now[name]) for name in sorted(names & then.keys())]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("search_darts", ("--num-cells", "3", "--preset", "nasi-fix")),
        ("search_s1", ("--space", "s1", "--preset", "nasi-ntk")),
    ],
)
def test_a_search_gives_the_same_alpha_to_the_bit_and_the_same_cell(
    tmp_path: Path, name: str, flags: tuple[str, ...]
) -> None:
    run = records_only(name, tmp_path)
    common = ("--init-channels", "4", "--num-samples", "12", "--out", str(run))
    run_search(parse_search([*flags, *TINY, *common]), Quiet())
    found = answers(OLD / name, run)
    assert len(found) == 6
    for then, now in found:
        assert now == then


def test_a_search_of_an_older_sampling_version_is_not_continued(tmp_path: Path) -> None:
    run = records_only("search_darts", tmp_path)
    sizes = ("--num-cells", "3", "--init-channels", "4", "--num-samples", "13", *FIX)
    asked = parse_search([*sizes, *TINY, "--out", str(run)])
    with pytest.raises(
        RecordConflictError, match=r"sampling_version=1; this program makes version 3"
    ):
        run_search(asked, Quiet())


def rank(run: Path, *flags: str) -> None:
    asked = ("--space", "s1", "--architectures", "6", "--proxies", "trace_norm", "naswot")
    sizes = ("--seeds", "0", "1", "--num-channels", "8", "--num-bootstrap", "20")
    run_rank(parse_rank([*asked, *sizes, *TINY, *flags, "--out", str(run)]), Quiet())


def scores(run: Path) -> list[dict[str, str]]:
    """The rows of scores.csv without accuracies."""
    with (run / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "error_percent"} for row in rows]


def test_a_ranking_has_the_same_scores_to_the_bit(tmp_path: Path) -> None:
    run = records_only("ranking_s1", tmp_path)
    (run / "scores.csv").unlink()
    rank(run)
    assert len(scores(run)) == 6
    assert scores(run) == scores(OLD / "ranking_s1")


def test_a_ranking_has_the_same_correlations(tmp_path: Path, data_dir: Path) -> None:
    table = data_dir / "nasbench1shot1_s1.parquet"
    if not table.exists():
        pytest.skip(f"{table} is not there")
    run = records_only("ranking_s1", tmp_path)
    rank(run, "--table", str(table))
    then, now = read_json(OLD / "ranking_s1" / "ranking.json"), read_json(run / "ranking.json")
    assert len(now["proxies"]) == 4
    for old, new in zip(then["proxies"], now["proxies"], strict=True):
        for name in ("name", "spearman", "kendall", "per_seed", "deciles", "num_scored"):
            assert new[name] == old[name]


def test_a_study_has_the_same_cells(tmp_path: Path) -> None:
    run = records_only("study_s1", tmp_path)
    sizes = ("--seeds", "0", "1", "--num-samples", "10", "--init-channels", "4")
    study = parse_study(["cells", "--space", "s1", *sizes, *TINY, "--out", str(run)])
    run_study(study, Quiet(), command="python jobs/study.py")
    then = read_json(OLD / "study_s1" / "cells-s1.json")["result"]
    now = read_json(run / "cells-s1.json")["result"]
    assert now["mode"] == then["mode"]
    assert len(now["cells"]) == 2
    for old, new in zip(
        [*then["cells"], then["consensus"]], [*now["cells"], now["consensus"]], strict=True
    ):
        assert (new["fields"], new["num_params"]) == (old["fields"], old["num_params"])
