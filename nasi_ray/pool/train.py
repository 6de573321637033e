"""Runs a function in the workers of Ray Train, and connects them with the driver."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ray
import ray.train
import ray.train.collective
import ray.train.torch
from ray.exceptions import RayError
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from nasi_ray.errors import NasiRayError, NoCapacityError, SearchStoppedError, WorkerError
from nasi_ray.pool.board import Board
from nasi_ray.pool.metrics import ExportedProgress
from nasi_ray.pool.nodes import room_for
from nasi_ray.pool.temp_dir import scratch_dir
from nasi_ray.pool.worker import THREAD_VARIABLES
from nasi_ray.progress import Progress, ProgressState

_POLL_S = 0.5
_ANSWER_S = 5.0
_END_S = 10.0
_CHECK_S = 2.0
_STOP_S = 120.0
_RESIZE_S = 60.0
_START_TIMEOUT_S = 60.0
"""After so long without room for all workers Ray Train begins a new attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerGroup:
    """The workers of a training."""

    num_workers: int
    """Workers (≥ 1), or the most of an elastic group."""
    min_workers: int
    """Fewest workers (≥ 1); below ``num_workers`` the group is elastic: it shrinks when nodes are
    lost, and grows when there is room, each time with a new call of the function."""
    threads: int
    """CPUs, and threads, of one."""
    gpus: float
    """GPUs of one; a fraction for a single worker only, since NCCL wants one for each."""
    labels: Mapping[str, str]
    """Label -> condition of the nodes they may run on."""
    max_failures: int
    """Deaths of workers after which the run ends; those of preempted nodes do not count."""
    capacity_timeout_s: float
    """Seconds to wait for room for all of them, or for the fewest of an elastic group."""

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers follows the cluster."""
        return self.min_workers < self.num_workers

    @property
    def worker(self) -> str:
        """What one holds, for people."""
        return f"{self.threads} CPU{f' and {self.gpus:g} GPU' if self.gpus else ''}"


class RayLink:
    """Connects the loop in a worker with the board; a ``training.world.Link``."""

    def __init__(self, board: Any, rank: int) -> None:
        self._board, self._is_first = board, rank == 0
        self._answer: Any = None
        self._is_stopping = False
        self._saved_for: object = None

    def update(self, state: ProgressState) -> None:
        """Report the state."""
        self._post(state, [])

    def message(self, text: str) -> None:
        """Report a line."""
        self._post(None, [text])

    def close(self) -> None:
        """Wait until everything is reported."""
        if self._answer is not None:
            ray.get(self._answer)

    def check(self, seconds_per_step: float) -> tuple[Literal["go", "save", "stop"], int]:
        """Whether to save, or save and stop: the first rank's knowledge, the same on all."""
        if self._is_first:
            self._post(None, [])
        # Both calls wait for all ranks.
        notice = ray.train.get_preemption_info()
        steps = max(1, math.floor(_CHECK_S / max(seconds_per_step, 1e-3)))
        known: Any = ray.train.collective.broadcast_from_rank_zero((self._is_stopping, steps))
        is_stopping, steps = known
        if is_stopping:
            return "stop", steps
        if notice is not None and notice != self._saved_for:
            self._saved_for = notice  # once for each notice
            return "save", steps
        return "go", steps

    def _post(self, state: ProgressState | None, messages: list[str]) -> None:
        if self._answer is not None:
            done, _ = ray.wait([self._answer], timeout=0)
            if done:
                self._is_stopping |= bool(ray.get(self._answer))
        self._answer = self._board.post.remote(state, messages)


def run_on_workers(
    function: Callable[..., None],
    args: Sequence[Any],
    group: WorkerGroup,
    progress: Progress,
) -> None:
    """Call ``function(rank, size, link, *args)`` in every worker, and again after deaths.

    Ray must be connected. Each worker is in torch's process group: NCCL with GPUs, else Gloo.

    Args:
        function: Importable by the workers; returns when it is done or stopped.
        args: Put in the object store once.
        group: The workers.
        progress: Shows what the first worker reports.

    Raises:
        SearchStoppedError: If the driver was asked to stop; the workers have saved.
        NoCapacityError: If there is no room for the workers.
        WorkerError: If workers die too often.
        NasiRayError: As ``function``, if it is not retryable.
    """
    progress = ExportedProgress(progress)
    with _board() as board, scratch_dir() as folder:
        refs = [ray.put(arg) for arg in args]
        trainer = _trainer(function, board, refs, group, folder)
        fit = Fit(trainer)
        try:
            room = _Room(group)
            while not fit.wait(_POLL_S):
                room.check(is_training=_show(board, progress))
            _show(board, progress)
        except NoCapacityError:
            board.stop.remote()
            raise
        except KeyboardInterrupt:
            _stop(board, fit, progress)
        finally:
            _end(fit)
        failure = _failure(board)
        if failure is not None:
            raise failure
        if fit.error is not None:
            raise _explained(fit.error, group) from fit.error


class Fit:
    """``fit()`` of a trainer or tuner, which in the main thread would take over Ctrl-C.

    It runs in a daemon thread from the start.
    """

    def __init__(self, trainer: Any) -> None:
        self.error: Exception | None = None
        # Not the thread's join: in Python 3.11 and 3.12 one that Ctrl-C interrupts takes the
        # thread for ended ever after.
        self._over = threading.Event()
        threading.Thread(target=self._run, args=(trainer,), name="ray-train", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether it has ended."""
        return self._over.wait(seconds)

    def _run(self, trainer: Any) -> None:
        try:
            with _no_ray_started():
                trainer.fit()
        except Exception as error:
            self.error = error
        except SystemExit:
            pass  # Ray is being shut down and ends the call that this thread waits in, or a stop
        finally:
            self._over.set()


def last_line(error: BaseException) -> str:
    """The last line of an exception's text, or the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


@contextlib.contextmanager
def _no_ray_started() -> Iterator[None]:
    # After a stop the main thread disconnects from Ray, and the next call of Ray Tune or Train
    # would start another Ray, which nobody stops.
    hook: Any = ray._private.auto_init_hook
    before, hook.enable_auto_connect = hook.enable_auto_connect, False
    variable = "TUNE_DISABLE_AUTO_INIT"
    value = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        hook.enable_auto_connect = before
        if value is None:
            del os.environ[variable]
        else:
            os.environ[variable] = value


def _trainer(
    function: Callable[..., None], board: Any, refs: Sequence[Any], group: WorkerGroup, folder: str
) -> Any:
    resources: dict[str, float] = {
        "CPU": group.threads,
        **({"GPU": group.gpus} if group.gpus else {}),
    }
    threads = {name: str(group.threads) for name in THREAD_VARIABLES}
    attempts = max(1, math.ceil(group.capacity_timeout_s / _START_TIMEOUT_S))
    trainer: Any = ray.train.torch.TorchTrainer  # its annotations are those of Train V1
    return trainer(
        _work,
        train_loop_config={"function": function, "board": board, "refs": list(refs)},
        scaling_config=ScalingConfig(
            num_workers=(
                (group.min_workers, group.num_workers) if group.is_elastic else group.num_workers
            ),
            elastic_resize_monitor_interval_s=_RESIZE_S,
            use_gpu=group.gpus > 0,
            resources_per_worker=resources,
            label_selector=dict(group.labels) or None,
        ),
        run_config=RunConfig(
            name="training",
            # Ours are the checkpoints; Ray keeps nothing that a later run would need.
            storage_path=folder,
            failure_config=FailureConfig(
                max_failures=group.max_failures,
                max_preemption_failures=-1,
                controller_failure_limit=attempts - 1,
            ),
            worker_runtime_env={"env_vars": threads},
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _work(config: Mapping[str, Any]) -> None:
    """What Ray Train calls in each worker."""
    board = config["board"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if not _begins(board, rank):
        return
    link = RayLink(board, rank)
    args = ray.get(list(config["refs"]))
    try:
        config["function"](rank, context.get_world_size(), link, *args)
        link.close()
        if rank == 0:
            with contextlib.suppress(RayError):  # only a stop asks for it
                ray.get(board.end.remote())
    except NasiRayError as error:
        if not error.is_retryable:
            ray.get(board.fail.remote(error))
        raise


def _begins(board: Any, rank: int) -> bool:
    """Whether this attempt has anything to do."""
    actor = ray.get_runtime_context().get_actor_id()
    begins = rank == 0 and bool(ray.get(board.begin.remote(actor)))
    # The same on all ranks: they wait for each other.
    known: Any = ray.train.collective.broadcast_from_rank_zero(begins)
    return bool(known)


def _failure(board: Any) -> NasiRayError | None:
    try:
        failure: NasiRayError | None = ray.get(board.failure.remote())
    except RayError:
        return None  # its process was killed; how the training ended tells the rest
    return failure


def _stop(board: Any, fit: Fit, progress: Progress) -> None:
    board.stop.remote()  # now no other attempt begins
    if not fit.is_over and not _has_worker(board):
        raise SearchStoppedError(
            "stopped while it waited for workers; run the same command again to continue"
        )
    progress.message("stopping: the workers save a checkpoint")
    deadline = time.monotonic() + _STOP_S
    is_lost = False
    while not fit.wait(_POLL_S) and not is_lost and time.monotonic() < deadline:
        _show(board, progress)
        is_lost = not _has_worker(board)
    _show(board, progress)
    if is_lost or not fit.is_over or fit.error is not None:
        raise SearchStoppedError(
            "stopped before a checkpoint was saved; run the same command again to continue from "
            "the previous one"
        )
    raise SearchStoppedError("stopped; run the same command again to continue from the checkpoint")


def _has_worker(board: Any) -> bool:
    """Whether the first worker runs or has ended well, so that the training will soon be over."""
    try:
        worker, has_ended = ray.get(board.worker.remote(), timeout=_ANSWER_S)
    except RayError:
        return True  # nobody knows
    if worker is None or has_ended:
        return bool(has_ended)
    known: Any = ray._private.state.actors(worker)
    return bool(known.get("State") == "ALIVE")


def _end(fit: Fit) -> None:
    """End a training that is not over, with whatever runs of it."""
    # Ray ends this process if the thread uses it after it has been disconnected. Ray Train's own
    # way to end it would first wait for room.
    deadline = time.monotonic() + _END_S
    while not fit.is_over and time.monotonic() < deadline:
        driver: Any = ray._private.worker.global_worker
        for actor, known in ray._private.state.actors(job_id=driver.current_job_id).items():
            if known["ActorClassName"] == "TrainController" and known["State"] != "DEAD":
                with contextlib.suppress(ValueError):  # not of this process
                    ray.kill(driver.core_worker.get_actor_handle(ray.ActorID.from_hex(actor)))
        fit.wait(_POLL_S)


def _show(board: Any, progress: Progress) -> bool:
    """Show what the workers report; whether they do."""
    try:
        state, messages = ray.get(board.take.remote(), timeout=_POLL_S)
    except RayError:
        return False  # busy, or its node is lost, which ends the run elsewhere
    for line in messages:
        progress.message(line)
    if state is not None:
        progress.update(state)
    return state is not None


def _explained(error: Exception, group: WorkerGroup) -> NasiRayError:
    reason = last_line(error)
    if isinstance(error, ControllerError) and "Startup" in type(error.controller_failure).__name__:
        return _no_room(group)
    if isinstance(error, TrainingFailedError):
        return WorkerError(
            f"workers failed more than {group.max_failures} times, the last time with: {reason}; "
            "run the same command again to continue from the latest checkpoint"
        )
    return WorkerError(f"Ray Train failed: {reason}; run the same command again to continue")


def _no_room(group: WorkerGroup) -> NoCapacityError:
    fewer = "--min-workers" if group.is_elastic else "--num-workers"
    return NoCapacityError(
        f"there is no room for {group.min_workers} workers with {group.worker} each after "
        f"{group.capacity_timeout_s:.0f} s; lower {fewer}, or add nodes"
    )


class _Room:
    """Watches that an elastic group has room; Ray Train would wait for it without an end."""

    def __init__(self, group: WorkerGroup) -> None:
        self._group, self._since, self._next_s = group, time.monotonic(), 0.0

    def check(self, *, is_training: bool) -> None:
        """Raise NoCapacityError once there has been none, and no worker, for too long."""
        group, now = self._group, time.monotonic()
        if is_training:
            self._since = now
        if not group.is_elastic or now < self._next_s:
            return
        self._next_s = now + _CHECK_S
        try:
            room = room_for(group.threads, group.gpus, group.labels)
        except RayError:
            return
        if room >= group.min_workers:
            self._since = now
        elif now - self._since > group.capacity_timeout_s:
            raise _no_room(group)


@contextlib.contextmanager
def _board() -> Iterator[Any]:
    made: Any = ray.remote(Board)
    node = ray.get_runtime_context().get_node_id()
    board = made.options(num_cpus=0, label_selector={"ray.io/node-id": node}).remote()
    try:
        yield board
    finally:
        with contextlib.suppress(Exception):
            ray.kill(board)
