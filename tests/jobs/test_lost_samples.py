"""The search command whose answer lacks samples."""

from __future__ import annotations

import contextlib
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.nasi.evaluator import lost_sample
from nasi_ray.records.rows import Sample
from nasi_ray.runner import InProcessRunner
from nasi_ray.search import job as launch
from tests.toy import toy_sample

JOB = Path(__file__).parents[2] / "jobs" / "search.py"


@pytest.mark.parametrize(("lost", "status"), [((), 0), ((1,), 4), ((1, 3), 4)])
def test_an_answer_that_lacks_samples_has_a_warning_and_a_status_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost: tuple[int, ...],
    status: int,
) -> None:
    def evaluate(index: int) -> Sample:
        return lost_sample("darts", index, "died") if index in lost else toy_sample(index)

    def runner(*_: Any) -> Any:
        return contextlib.nullcontext(InProcessRunner(evaluate))

    monkeypatch.setattr(launch, "_runner", runner)
    tiny = ("--batch-size", "4", "--image-size", "8", "--init-channels", "2", "--num-workers", "0")
    argv = [str(JOB), *tiny, "--num-samples", "4", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(JOB), run_name="__main__")
    assert ended.value.code == status
    out, err = capsys.readouterr()
    assert f"written to {tmp_path}" in out
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == bool(lost)
    if lost:
        assert f"({', '.join(map(str, lost))})" in warnings[0]
