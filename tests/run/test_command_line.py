"""Malformed command lines: one line that says what was given, what is allowed, what to do."""

from __future__ import annotations

import os

import pytest

from nasi_ray import command

SLIPS = [
    (("search", "--num-samples", "thirty"), "--num-samples: 'thirty' is not an integer"),
    (("search", "--temperature", "warm"), "--temperature: 'warm' is not a number"),
    (("study", "cells", "--seeds", "0:9"), "--seeds: '0:9' cannot be read; give --seeds [INT "),
    (("train", "--seeds", "1", "x"), "--seeds: '1', 'x' cannot be read; give --seeds [INT [INT"),
    (("search", "--space"), "missing value for argument '--space'; give one"),
    (("search", "--num-sample", "3"), "unrecognized options: --num-sample, 3; perhaps you meant"),
    (("describe", "--network", "mnist"), "allowed: 'cifar10', 'cifar100', 'imagenet'"),
    (("study", "table3"), "unrecognized options: table3; available subcommands: agnostic, "),
    (("study", "table2", "--bogus"), "unrecognized options: --bogus"),
    (("convert", "show"), "missing from nasi-ray convert"),
    (("replay", "run"), "missing from nasi-ray replay: --grid NAME=VALUES [NAME=VALUES ...]"),
    (("cluster", "submit", "--", "search"), "missing from nasi-ray cluster submit: --run-id"),
    (("export", "run", "x" * 300), "x" * 300),
    (("train", "--netw\x1b[31mork", "y"), "unrecognized options: --netw"),
]


@pytest.mark.parametrize(("argv", "said"), SLIPS)
@pytest.mark.parametrize("width", [None, "40"])
def test_a_slip_is_answered_with_one_line(
    argv: tuple[str, ...],
    said: str,
    width: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", width)
    with pytest.raises(SystemExit) as end:
        command.main(argv)
    out, err = capsys.readouterr()
    has_kind = argv[0] in ("cluster", "convert", "study") and argv[1] != "table3"
    program = " ".join(["nasi-ray", *argv[: 2 if has_kind else 1]])
    assert (end.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert said in err
    assert err.endswith(f"; {program} --help lists what is allowed\n")
    assert err[:-1].isprintable()
    assert os.environ.get("COLUMNS") == width


def test_the_help_is_as_wide_as_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit) as end:
        command.main(["describe", "--help"])
    out = capsys.readouterr().out
    assert end.value.code in (0, None)
    assert [line for line in out.splitlines() if len(line) > 60 and line[0] in "╭│+|"] == []
    assert "Exit status" in out
