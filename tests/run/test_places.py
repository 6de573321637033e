"""Where every command writes: never into the copy of a working directory that Ray deletes."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path

import pytest

from nasi_ray import command
from nasi_ray.spaces.nb1shot1 import S1
from tests.official_files import trials_of_space, write_nasbench101
from tests.spaces.cells import DARTS_V1
from tests.training.trainings import CELL

OUT = ("--out", "runs/x")
WRITING: dict[str, list[tuple[str, ...]]] = {
    "search": [(), OUT],
    "sweep": [("--seeds", "0", "1"), ("--seeds", "0", "1", *OUT)],
    "rank": [("--architectures", "2"), ("--architectures", "2", *OUT)],
    "study": [("agnostic",), ("agnostic", *OUT)],
    "convert": [("nasbench101", "{there}/source", "t.parquet"), ("nasbench201", "s", "./t")],
    "train": [("--architecture", DARTS_V1), ("--architecture", DARTS_V1, *OUT)],
    "describe": [("--architecture", DARTS_V1, "--picture", "cell.png")],
    "export": [("runs/x",), ("{there}", *OUT)],
    "replay": [("{there}", "--grid", "mu=1", *OUT)],
    "report": [("runs/x",), ("{there}", "--out", "x.html"), ("{there}", "--figures", "drawn")],
}
"""Command -> arguments with which it would write to a relative place."""
READING = {"confidence", "show", "watch", "version"}
TOOLS = {"cluster"}
"""For the machine from which jobs are submitted."""


def test_every_command_is_placed() -> None:
    assert {*WRITING, *READING, *TOOLS} == command.COMMANDS.keys()


@pytest.mark.parametrize(
    ("name", "argv"), [(name, argv) for name, tried in WRITING.items() for argv in tried]
)
def test_no_command_writes_to_a_relative_place_in_a_submitted_job(
    name: str,
    argv: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.delenv("NASI_RUNS", raising=False)
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    with pytest.raises(SystemExit) as ended:
        command.main([name, *(word.format(there=tmp_path) for word in argv)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is in the job's own copy of the working directory, and Ray deletes that" in line
    assert list(tmp_path.rglob("*")) == [tmp_path / "copy"]


TINY = ("--batch-size", "2", "--image-size", "8", "--num-workers", "0", "--no-report")
SMALL = ("--space", "s1", *TINY, "--init-channels", "2", "--num-samples", "2")
TWO_SEEDS = ("--seeds", "0", "1")
PRINTED: list[tuple[str, tuple[str, ...], str]] = [
    ("search", (*SMALL, *OUT), "runs/x"),
    ("sweep", (*SMALL, *TWO_SEEDS, "--out", "runs/sweep"), "runs/sweep"),
    ("rank", ("--space", "s1", "--architectures", "2", *TINY, "--out", "runs/rank"), "runs/rank"),
    ("convert", ("nasbench101", "s1.tfrecord", "made.parquet", "--space", "s1"), "made.parquet"),
    (
        "study",
        ("presets", *SMALL, *TWO_SEEDS, "--modes", "random-data", "--table", ".", "--out", "study"),
        "study",
    ),
    (
        "train",
        ("--genotype", CELL, *TINY, "--epochs", "1", "--num-train-images", "8", "--out", "t"),
        "t",
    ),
    ("describe", ("--architecture", DARTS_V1, "--picture", "cell.png"), "cell.png"),
    ("export", ("t", "--formats", "python"), "t/export"),
    ("replay", ("runs/x", "--grid", "num_samples=1,2", "--out", "replay"), "replay"),
    ("report", ("runs/x",), "runs/x/report.html"),
]
"""Command, arguments with relative places, and what it prints of them, one after the other."""
KINDS = ("search", "sweep", "rank", "train")


@pytest.mark.integration
def test_every_command_prints_the_absolute_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {name for name, _, _ in PRINTED} == WRITING.keys()
    monkeypatch.delenv("NASI_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    write_nasbench101(tmp_path / "s1.tfrecord", trials_of_space(S1))
    for name, argv, place in PRINTED:
        with contextlib.suppress(SystemExit):
            command.main([name, *argv])
        out, err = capsys.readouterr()
        assert re.search(rf"{re.escape(str(tmp_path / place))}(?=[\s:;,')]|$)", out), (out, err)


@pytest.mark.integration
def test_a_run_directory_is_of_one_kind_of_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = {name: [*argv[:-2], "--out"] for name, argv, _ in PRINTED if name in KINDS}
    for name in KINDS:
        command.main([name, *jobs[name], name])
        capsys.readouterr()
    for name, other in itertools.permutations(KINDS, 2):
        settings = (tmp_path / other / "settings.yaml").read_bytes()
        with pytest.raises(SystemExit) as ended:
            command.main([name, *jobs[name], other])
        assert ended.value.code in (1, 2)
        (line,) = [text for text in capsys.readouterr().err.splitlines() if "error: " in text]
        assert str(tmp_path / other) in line
        assert (tmp_path / other / "settings.yaml").read_bytes() == settings
    for name in KINDS:  # all of them are as they were
        assert command.main([name, *jobs[name], name]) == 0


def test_a_working_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit) as ended:
        command.main(["show", str(tmp_path)])
    assert ended.value.code == 1
    message = "error: the working directory was deleted; go to another directory\n"
    assert capsys.readouterr().err == message
    monkeypatch.chdir(tmp_path)
