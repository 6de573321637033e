"""The search command whose answer lacks samples."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.nasi.evaluator import lost_sample
from nasi_ray.records.rows import Sample
from nasi_ray.run.compute import Session
from nasi_ray.runner import InProcessRunner
from tests.jobs import command
from tests.toy import toy_sample


@pytest.mark.parametrize(("lost", "status"), [((), 0), ((1,), 4), ((1, 3), 4)])
def test_an_answer_that_lacks_samples_has_a_warning_and_a_status_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: tuple[int, ...],
    status: int,
) -> None:
    def evaluate(index: int) -> Sample:
        return lost_sample("darts", index, "died") if index in lost else toy_sample(index)

    def runner(*_: Any, **__: Any) -> Any:
        return contextlib.nullcontext(InProcessRunner(evaluate))

    monkeypatch.setattr(Session, "runner", runner)
    tiny = (
        "--preset",
        "nasi-fix",
        "--batch-size",
        "4",
        "--image-size",
        "8",
        "--init-channels",
        "2",
        "--num-workers",
        "0",
    )
    code, out, err = command.call("search.py", *tiny, "--num-samples", "4", "--out", tmp_path)
    assert code == status
    assert f"written to {tmp_path}" in out
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == bool(lost)
    if lost:
        assert f"({', '.join(map(str, lost))})" in warnings[0]
