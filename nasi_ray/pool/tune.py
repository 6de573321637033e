"""Calls a function for many parameters side by side, as trials of Ray Tune."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from nasi_ray.errors import NasiRayError, RunLockedError, WorkerError
from nasi_ray.pool.cost import CostMeter
from nasi_ray.pool.metering import list_nodes
from nasi_ray.pool.temp_dir import scratch_dir
from nasi_ray.pool.train import Fit, last_line

_POLL_S = 0.5
_MAX_TRIES = 3
_STOP_S = 2.0
"""A stopped job of Ray is killed after 3 s."""
_LOCKED_S = 120.0
"""How long the lock of a trial whose worker died may last: longer than a lease on S3."""


_Queue = queue.SimpleQueue[tuple[int, NasiRayError | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResources:
    """What one trial holds, and how many run at once."""

    cpus: int
    gpus: float
    """GPUs, or a fraction of one."""
    num_workers: int = 0
    """Actors that a trial makes, each with these CPUs and GPUs, which are scheduled together with
    it; 0: the trial itself holds them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label -> condition of the nodes it may run on."""
    at_once: int | None
    """Most trials at a time; None: as many as the cluster holds, more as it grows."""
    max_failures: int
    """Deaths of a trial's worker after which the trial is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Halving:
    """Stop trials early that are worse than others after as many epochs (ASHA).

    After ``first`` epochs, and each time their number has grown ``factor``-fold, a trial goes on if
    it is among the best 1/``factor`` of those that have been there. It does not wait for the
    others, so what is stopped depends on the order in which they come.
    """

    first: int
    most: int
    """Epochs of a whole trial."""
    factor: int = 2


def run_trials(
    function: Callable[..., Any],
    shared: Sequence[Any],
    positions: Sequence[int],
    resources: TrialResources,
    on_end: Callable[[int, NasiRayError | None], None],
    halving: Halving | None = None,
    meter: CostMeter | None = None,
) -> None:
    """Call ``function(position, *shared)`` for every position.

    Ray must be connected. A trial that fails does not stop the others.

    Args:
        function: Importable by workers. A ``NasiRayError`` ends its trial, after three tries if it
            is retryable; other exceptions and deaths of its worker begin it again.
        shared: Put in the object store once.
        positions: What tells trials apart.
        resources: Of a trial.
        on_end: Called with a position, and why it failed; None: it did not.
        halving: With it ``function`` also gets ``report``, to be called after each epoch with its
            number (from 1) and a value to be large, which ends the trial if it is to stop early.
        meter: Observes the nodes while trials run.

    Raises:
        KeyboardInterrupt: If the driver was asked to stop; trials end with the Ray connection.
        WorkerError: If Ray Tune itself fails.
    """
    ended: _Queue = queue.SimpleQueue()
    # Its loggers write three files a trial, which say nothing of ours.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with 1, verbose=0 still prints a table
    with scratch_dir() as folder:
        callback = _Ends(ended)
        tuner = _tuner(function, shared, positions, resources, halving, folder, callback)
        fit = Fit(tuner)
        try:
            while True:
                # In this order, so that what ends last is taken.
                is_over = fit.wait(_POLL_S)
                if meter is not None:
                    meter.observe(list_nodes(), time.monotonic())
                while not ended.empty():
                    on_end(*ended.get())
                if is_over:
                    break
        except KeyboardInterrupt:
            # Ray ends this process if a thread uses it after it has been disconnected.
            callback.is_stopping = True
            fit.wait(_STOP_S)
            raise
    if fit.error is not None:
        raise WorkerError(
            f"Ray Tune failed: {last_line(fit.error)}; run the same command again to continue"
        ) from fit.error


def _tuner(
    function: Callable[..., Any],
    shared: Sequence[Any],
    positions: Sequence[int],
    resources: TrialResources,
    halving: Halving | None,
    folder: str,
    callback: tune.Callback,
) -> tune.Tuner:
    trainable = tune.with_resources(
        tune.with_parameters(_trial, function=function, shared=tuple(shared), halving=halving),
        _placement(resources),
    )
    return tune.Tuner(
        trainable,
        param_space={"position": tune.grid_search(list(positions))},
        # The next trial in a process has torch and the images already.
        tune_config=tune.TuneConfig(
            max_concurrent_trials=resources.at_once,
            reuse_actors=True,
            scheduler=None if halving is None else _scheduler(halving),
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=folder,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            callbacks=[callback],
        ),
    )


def _placement(resources: TrialResources) -> tune.PlacementGroupFactory:
    one = {"CPU": float(resources.cpus), "GPU": resources.gpus}
    # A trial with workers of its own needs nothing beside them.
    bundles = [{}, *[one] * resources.num_workers] if resources.num_workers else [one]
    held = [bundle for bundle in bundles if bundle]
    labels = dict(resources.labels)
    selectors = {"bundle_label_selector": [labels] * len(held)} if labels else {}
    return tune.PlacementGroupFactory(bundles, "PACK", **selectors)


def _scheduler(halving: Halving) -> TrialScheduler:
    return ASHAScheduler(
        time_attr="epoch",
        metric="value",
        mode="max",
        max_t=halving.most,
        grace_period=halving.first,
        reduction_factor=halving.factor,
    )


def _trial(
    config: dict[str, Any],
    *,
    function: Callable[..., Any],
    shared: Sequence[Any],
    halving: Halving | None,
) -> None:
    position = config["position"]
    if halving is None:
        failure = _failure_of(lambda: function(position, *shared))
        # Of a result without a number Ray Tune prints a line, whatever its verbosity.
        tune.report({"failure": failure, "num_calls": 1})
        return
    most, last = halving.most, {"epoch": 0, "value": 0.0}

    def report(epoch: int, value: float) -> None:
        last.update(epoch=epoch, value=value)
        # Ray Tune ends a trial at its last epoch, and the function has not returned yet.
        if epoch < most:
            tune.report({"failure": None, **last})

    failure = _failure_of(lambda: function(position, *shared, report=report))
    tune.report({"failure": failure, **last})


def _failure_of(call: Callable[[], Any]) -> NasiRayError | None:
    """Why a call failed, after three tries if its error is temporary."""
    until, num_left = time.monotonic() + _LOCKED_S, _MAX_TRIES
    while True:
        try:
            call()
            return None
        except RunLockedError as error:
            # By the worker that died before this one began.
            if time.monotonic() > until:
                return error
        except NasiRayError as error:
            num_left -= 1
            if not error.is_retryable or not num_left:
                return error
        time.sleep(_POLL_S)


class _Ends(tune.Callback):
    """Tells of trials that end, and ends Ray Tune's loop."""

    def __init__(self, ended: _Queue | None = None) -> None:
        self._ended: _Queue = ended or queue.SimpleQueue()
        self.is_stopping = False

    def __reduce__(self) -> tuple[type[_Ends], tuple[()]]:
        # Ray Tune keeps a copy of its settings in a file, which is not used here.
        return _Ends, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Ends:
        return self

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        if self.is_stopping:
            # Unlike an exception, which has Ray Tune wait for the trials to end.
            raise SystemExit

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        nothing = WorkerError("its worker ended without a result")
        self._ended.put(
            (trial.config["position"], (trial.last_result or {}).get("failure", nothing))
        )

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        lines = [line.strip() for line in str(trial.get_error()).splitlines() if line.strip()]
        self._ended.put(
            (
                trial.config["position"],
                WorkerError(lines[-1] if lines else "Ray Tune gave no reason"),
            )
        )
