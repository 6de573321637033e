"""Where every command writes: never into the copy of a working directory that Ray deletes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from nasi_ray import command
from tests.spaces.cells import DARTS_V1

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
READING = {"confidence", "show", "watch"}
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


TINY = ("--batch-size", "2", "--image-size", "8", "--init-channels", "2", "--num-workers", "0",
        "--no-report")  # fmt: skip


@pytest.mark.parametrize(
    "argv",
    [
        ("search", "--space", "s1", "--num-samples", "2"),
        ("sweep", "--space", "s1", "--num-samples", "2", "--seeds", "0", "1"),
    ],
)
def test_the_absolute_place_is_printed(
    argv: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("NASI_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(SystemExit):
        command.main([*argv, *TINY, *OUT])
    assert f"\nwritten to {tmp_path}/runs/x: " in capsys.readouterr().out
