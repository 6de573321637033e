"""How sure the cell of stored runs is, on the terminal and from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nasi_ray
from nasi_ray import command
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.consensus import consensus_of
from nasi_ray.nasi.estimator import first_choices
from nasi_ray.spaces import get_space


def test_a_run_says_of_each_decision_how_sure_it_is(
    runs: list[str], evaluated: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["confidence", runs[0], "--set", "num_samples=6", "mu=0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("s1: 1 run of 6 samples, objective trace-norm")
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].split() == ["decision", "choice", "runner-up", "stands"]
    (run,) = nasi_ray.confidence(runs[0], num_samples=6, mu=0).runs
    space = get_space("s1")
    rows = {line.split()[0]: line for line in lines if "/" in line.split(" ")[0]}
    assert set(rows) >= set(run.probabilities)
    for name, probability in run.probabilities.items():
        assert rows[name].endswith(f"{int(100 * probability + 1e-9)} %")
    assert run.runners_up.keys() == first_choices(run.estimate.alpha, space).keys()
    cell = nasi_ray.open_run(runs[0]).cell(num_samples=6, mu=0)
    assert lines[-1] == cell.to_string()
    assert evaluated == []


def test_a_run_counts_once(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["confidence", runs[0], runs[0]], ["replay", *runs, runs[0], "--grid", "mu=0"]):
        with pytest.raises(SystemExit) as ended:
            command.main(argv)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"the samples of {runs[0]} are those of another run" in line


def test_several_runs_have_a_consensus_and_votes(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = nasi_ray.confidence(runs)
    expected = consensus_of([run.estimate for run in found.runs], found.space, found.config)
    assert found.consensus.architecture == expected.architecture
    assert command.main(["confidence", *runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "votes" in lines[2]
    for name, votes in expected.votes.items():
        (row,) = (line for line in lines if line.startswith(f"{name} "))
        assert f"{votes} of 2" in row
    assert lines[-1] == expected.architecture.to_string()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("mu=1,2",), "set has 2 values of mu; give one, or use replay"),
        (("mux=1",), "the grid has no setting 'mux'"),
        (("num_samples=9",), "num_samples is 9, which needs the first 9 samples"),
        (("objective=panel",), "this run has no measurements"),
    ],
)
def test_slips_are_one_line_and_status_2(
    runs: list[str], settings: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(["confidence", *runs, "--set", *settings])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("identity", "folder", "message"),
    [
        ('{"rows": "checkpoints"', "", "is the run directory of a training: it holds checkpoints"),
        ('{"rows": "scores"', "", "is the run directory of a ranking: it holds scores, not sample"),
        (None, "runs/nb201-seed3", "a search; name the --out of a search, such as RUN/runs/nb201-"),
        (None, "cells/0000-seed0", "holds no run of a search; name the --out of a search"),
    ],
)
@pytest.mark.parametrize("argv", [("confidence",), ("replay", "--grid", "mu=0")])
def test_the_run_of_another_job_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    identity: str | None,
    folder: str,
    message: str,
    argv: tuple[str, ...],
) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "result.json").touch()
    if identity is not None:
        (tmp_path / "identity.json").write_text(f'{identity}, "version": 1, "identity": {{}}}}')
    with pytest.raises(SystemExit) as end:
        command.main([argv[0], str(tmp_path), *argv[1:]])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message.replace("RUN", str(tmp_path)) in line


def test_runs_are_needed() -> None:
    with pytest.raises(ConfigError, match="no run was given"):
        nasi_ray.confidence([])
