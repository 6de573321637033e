"""Calls a function for many parameters side by side, as trials of Ray Tune."""

from __future__ import annotations

import os
import queue
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune

from nasi_ray.errors import NasiRayError, WorkerError
from nasi_ray.pool.train import Fit

_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResources:
    """What one trial holds, and how many run at once."""

    cpus: int
    gpus: float
    at_once: int | None
    """Most trials at a time; None: as many as the cluster holds, more as it grows."""
    max_failures: int
    """Deaths of a trial's worker after which the trial is given up."""


def run_trials(
    function: Callable[..., Any],
    shared: Sequence[Any],
    positions: Sequence[int],
    resources: TrialResources,
    on_end: Callable[[int, str], None],
) -> None:
    """Call ``function(position, *shared)`` for every position.

    Ray must be connected. A trial that fails does not stop the others.

    Args:
        function: Importable by workers. A ``NasiRayError`` that is not retryable ends its trial;
            other exceptions and deaths of its worker begin it again.
        shared: Put in the object store once.
        positions: What tells trials apart.
        resources: Of a trial.
        on_end: Called with a position, and why it failed; empty: it did not.

    Raises:
        KeyboardInterrupt: If the driver was asked to stop; trials end with the Ray connection.
        WorkerError: If Ray Tune itself fails.
    """
    ended: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    # Its loggers write three files a trial, which say nothing of ours.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with 1, verbose=0 still prints a table
    with tempfile.TemporaryDirectory(prefix="nasi-ray-tune-", ignore_cleanup_errors=True) as folder:
        trainable = tune.with_resources(
            tune.with_parameters(_trial, function=function, shared=tuple(shared)),
            {"cpu": resources.cpus, "gpu": resources.gpus},
        )
        tuner = tune.Tuner(
            trainable,
            param_space={"position": tune.grid_search(list(positions))},
            tune_config=tune.TuneConfig(max_concurrent_trials=resources.at_once),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=resources.max_failures),
                callbacks=[_Ends(ended)],
            ),
        )
        fit = Fit(tuner)
        while True:
            # In this order, so that what ends last is taken.
            is_over = fit.wait(_POLL_S)
            while not ended.empty():
                on_end(*ended.get())
            if is_over:
                break
    if fit.error is not None:
        raise WorkerError(
            f"Ray Tune failed: {str(fit.error).strip().splitlines()[-1]}; the same command goes on"
        ) from fit.error


def _trial(config: dict[str, Any], *, function: Callable[..., Any], shared: Sequence[Any]) -> None:
    try:
        function(config["position"], *shared)
    except NasiRayError as error:
        if error.is_retryable:
            raise
        tune.report({"failure": str(error)})
        return
    tune.report({"failure": ""})


class _Ends(tune.Callback):
    """Tells of trials that end."""

    def __init__(self, ended: queue.SimpleQueue[tuple[int, str]] | None = None) -> None:
        self._ended = ended or queue.SimpleQueue()

    def __reduce__(self) -> tuple[type[_Ends], tuple[()]]:
        # Ray Tune keeps a copy of its settings in a file, which is not used here.
        return _Ends, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Ends:
        return self

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        failure = str((trial.last_result or {}).get("failure", "its worker reported nothing"))
        self._ended.put((trial.config["position"], failure))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        lines = [line for line in str(trial.get_error()).splitlines() if line.strip()]
        self._ended.put((trial.config["position"], lines[-1].strip() if lines else "it failed"))
