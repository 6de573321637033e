"""``python jobs/rank.py`` as users run it, with real workers that are killed for real."""

from __future__ import annotations

import json
import os
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasi_ray import read_scores
from nasi_ray.ranking.scoring import ScoreEvaluator
from tests.jobs import command
from tests.jobs.command import MOST_S, wait_for, worker_pids

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("blank_pictures")]

start, run = partial(command.start, "rank.py"), partial(command.run, "rank.py")
# Slow enough that something can happen while it runs.
SLOW = (
    "--batch-size", "100", "--image-size", "16", "--num-channels", "6",
    "--architectures", "20", "--proxies", "trace_norm",
)  # fmt: skip


def num_stored(out: Path) -> int:
    if not (out / "identity.json").exists():
        return 0
    return sum(len(proxy.seconds) for proxy in read_scores(str(out)).by_proxy.values())


def scores(out: Path) -> dict[str, bytes]:
    return {name: p.scores.tobytes() for name, p in read_scores(str(out)).by_proxy.items()}


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("in_process")
    code, _, err = run(*SLOW, "--seeds", "0", "1", "--num-workers", "0", "--out", str(out))
    assert code == 0, err
    return out


@pytest.mark.integration
@pytest.mark.parametrize("num_workers", ["1", "2"])
def test_any_number_of_workers_gives_the_same_scores_to_the_bit(
    tmp_path: Path, in_process: Path, num_workers: str
) -> None:
    args = (*SLOW, "--seeds", "0", "1", "--num-workers", num_workers)
    code, out, err = run(*args, "--out", str(tmp_path))
    assert code == 0, err
    assert scores(tmp_path) == scores(in_process)
    assert "s1: 20 of 2685 architectures, 2 seeds" in out
    assert "no accuracy is known" in out
    assert "\x1b" not in out + err


@pytest.mark.integration
def test_a_worker_killed_in_mid_ranking_changes_nothing(tmp_path: Path, in_process: Path) -> None:
    process = start(*SLOW, "--seeds", "0", "1", "--num-workers", "2", "--out", str(tmp_path))
    wait_for(lambda: num_stored(tmp_path) >= 20, process)
    victims = worker_pids(process.pid)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    _, err = process.communicate(timeout=MOST_S)
    assert process.returncode == 0, err
    assert "1 died" in err or "1 lost" in err
    assert scores(tmp_path) == scores(in_process)


@pytest.mark.integration
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopping_keeps_what_was_computed_and_the_same_command_continues(
    tmp_path: Path, in_process: Path, signum: signal.Signals
) -> None:
    args = (*SLOW, "--seeds", "0", "1", "--num-workers", "0", "--out", str(tmp_path))
    process = start(*args)
    wait_for(lambda: num_stored(tmp_path) >= 22, process)
    os.kill(process.pid, signum)
    _, err = process.communicate(timeout=MOST_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    told = re.search(r"stopped with (\d+) of 80 scores stored; run the same command again", err)
    assert told, err
    assert int(told[1]) == num_stored(tmp_path) < 80
    code, _, err = run(*args)
    assert code == 0, err
    assert scores(tmp_path) == scores(in_process)


@pytest.mark.integration
def test_real_accuracies_give_correlations_pictures_and_a_warning(
    tmp_path: Path, data_dir: Path
) -> None:
    table = str(data_dir / "nasbench1shot1_s1.parquet")
    args = (
        "--architectures", "8", "--batch-size", "4", "--image-size", "8", "--num-channels", "2",
        "--proxies", "trace_norm", "synflow", "--table", table, "--num-workers", "0",
        "--out", str(tmp_path),
    )  # fmt: skip
    code, out, err = command.call("rank.py", *args)
    assert code == 0, err
    found: dict[str, Any] = json.loads((tmp_path / "ranking.json").read_text())
    for entry in found["proxies"]:
        assert entry["spearman"]["n"] == 8
        assert -1 <= entry["spearman"]["low"] <= entry["spearman"]["value"]
        assert f"{entry['spearman']['value']:+.3f}" in out
    assert ("WARNING" in out) is bool(found["warnings"])
    assert "written to" in out
    assert (tmp_path / "scatter.svg").exists()
    assert np.isfinite(read_scores(str(tmp_path)).by_proxy["trace_norm"].scores).all()


@pytest.mark.parametrize(
    ("args", "status", "expected"),
    [
        (("--space", "darts"), 2, "DARTS cells cannot be enumerated; give a file"),
        (("--proxies", "snap"), 2, "unknown proxy 'snap'; choose one of fisher"),
        (("--architectures", "no-such"), 1, "give all, a number of random ones, or a file"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, args: tuple[str, ...], status: int, expected: str
) -> None:
    argv = (*args, "--num-workers", "0", "--out", str(tmp_path / "run"))
    code, out, err = command.call("rank.py", *argv)
    assert (code, out) == (status, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("num_broken", [0, 1])
def test_a_ranking_that_lacks_lost_scores_says_so_and_has_a_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_broken: int
) -> None:
    score, calls = ScoreEvaluator._score, []

    def broken(self: ScoreEvaluator, *args: Any) -> float:
        calls.append(args)
        if len(calls) <= num_broken:
            raise RuntimeError("no luck")
        return score(self, *args)

    monkeypatch.setattr(ScoreEvaluator, "_score", broken)
    tiny = ("--batch-size", "4", "--image-size", "8", "--num-channels", "2", "--num-workers", "0")
    asked = ("--architectures", "2", "--proxies", "synflow", "--out", str(tmp_path))
    code, out, _ = command.call("rank.py", *tiny, *asked)
    assert code == 4 * num_broken
    assert ("Every attempt to compute 1 score failed" in out) is bool(num_broken)


def test_help_names_what_can_be_asked_for() -> None:
    code, out, _ = command.call("rank.py", "--help")
    assert code == 0
    for flag in ("--proxies", "--architectures", "--seeds", "--table", "--network", "--address"):
        assert flag in out
