"""How a series of trials ends."""

from __future__ import annotations

import re

import pytest

from nasi_ray.errors import WorkerError
from nasi_ray.pool import tune
from nasi_ray.pool.tune import TrialResources, run_trials


class Broken:
    """A tuner that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def fit(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError(), "AssertionError"),
        (ValueError(" \n "), "ValueError"),
        (ValueError("Traceback\n  a node is gone\n"), "a node is gone"),
    ],
)
def test_a_failure_of_ray_tune_is_one_line_whatever_its_text(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_tuner", lambda *args: Broken(error))
    resources = TrialResources(cpus=1, gpus=0.0, at_once=1, max_failures=0)
    told = f"Ray Tune failed: {reason}; run the same command again to continue"
    with pytest.raises(WorkerError, match=f"^{re.escape(told)}$"):
        run_trials(print, (), [0], resources, lambda position, failure: None)
