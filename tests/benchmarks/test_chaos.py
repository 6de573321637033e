"""The chaos benchmark, two runs of it: one on disk, one on S3."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from benchmarks import chaos
from benchmarks.chaos_driver import Ledger

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(900)
def test_chaos_changes_no_bit_and_loses_no_sample(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--runs", "2", "--calm", "1", "--seed", "7"],
        env={**env, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (figures["runs"], figures["identical"], figures["whole"]) == (2, 2, 2)
    assert figures["endless"] == 0
    assert sum(figures["faults"].values()) >= 6
    assert figures["driver_errors"]["other"] == 0
    assert 0 <= figures["recomputed_share"] < 1


class FakeDriver:
    """A process that does what a script says each time it is waited for."""

    def __init__(self, ledger: Ledger, steps: Iterator[int], exitcode: int | None) -> None:
        self._ledger, self._steps, self._end = ledger, steps, exitcode
        self.exitcode: int | None = None

    def start(self) -> None:
        """Nothing to do."""

    def is_alive(self) -> bool:
        return self.exitcode is None

    def join(self, timeout: float) -> None:
        step = next(self._steps, None)
        if step is None:
            self.exitcode = self._end
        elif step:
            self._ledger.note("stored", step)

    def kill(self) -> None:
        self.exitcode = -9


@dataclass
class FakeChaos:
    """Counts how many samples are stored when a fault strikes."""

    rng: random.Random
    struck_at: list[int] = field(default_factory=list)
    is_on_s3: bool = False
    faults: Counter[str] = field(default_factory=Counter)
    cluster: Any = field(default_factory=mock.MagicMock)
    s3: Any = field(default_factory=mock.MagicMock)

    def strike(self, driver: Any, ledger: Ledger) -> None:
        self.struck_at.append(sum(ledger.numbers("stored")))


def run_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path, steps: list[int], *, exitcode: int | None = 0
) -> tuple[chaos.Outcome, list[int]]:
    """One run whose driver stores so many samples each time it is looked at."""
    folder.mkdir()
    script = iter(steps)
    context = mock.MagicMock()
    context.Process = lambda target, args: FakeDriver(args[1], script, exitcode)
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context)
    storm = FakeChaos(rng=random.Random(3))
    outcome = chaos.one_run(storm, "out", folder, is_calm=False, limit_s=0.3)  # type: ignore[arg-type]
    return outcome, storm.struck_at


def test_faults_strike_by_samples_stored_however_long_these_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    outcome, quick = run_with(monkeypatch, tmp_path / "quick", [1] * 64)
    _, slow = run_with(monkeypatch, tmp_path / "slow", [0, 0, 0, 0, 1] * 64)
    assert outcome.is_ended
    assert quick[1:] == slow[1:]  # the first may be due before there is any
    assert len(quick) >= 64 / chaos.MOST_BETWEEN - 1
    assert all(b - a <= chaos.MOST_BETWEEN for a, b in itertools.pairwise(quick))


def test_a_run_without_an_end_is_a_row_that_names_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endless, _ = run_with(monkeypatch, tmp_path / "run", [0], exitcode=None)
    assert not endless.is_ended
    chaos.examine(endless, str(tmp_path / "never-made"), {})
    assert not endless.is_good
    calm = [
        chaos.Outcome(place=place, log=tmp_path, wall_s=1.0, is_ended=True)
        for place in ("disk", "s3")
    ]
    chaos.tell([*calm, endless], 1, 0)
    out = capsys.readouterr().out
    assert str(tmp_path / "run" / "log") in out
    assert json.loads(out.splitlines()[-1])["endless"] == 1
