"""The training loop: the same in one process and in the workers of Ray Train."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasi_ray.data.order import Shard
from nasi_ray.device import prepare_process
from nasi_ray.display.formats import plural
from nasi_ray.errors import ConfigError, StorageError, TrainingError
from nasi_ray.seeding import torch_seed
from nasi_ray.storage import Storage, open_storage
from nasi_ray.training import checkpoints
from nasi_ray.training.images import TrainImages
from nasi_ray.training.loader import Batch, make_loader
from nasi_ray.training.memory import refuse_too_large
from nasi_ray.training.meter import Meter
from nasi_ray.training.metrics import best_of, test, to_device, write_metrics
from nasi_ray.training.model import ModelConfig
from nasi_ray.training.optimization import Schedule, make_criterion, make_mixup
from nasi_ray.training.recipes import MOST_LOADER_PROCESSES, TrainingConfig
from nasi_ray.training.state import TrainState
from nasi_ray.training.world import Link, World

_MAX_MICRO_BATCHES = 1 << 20
"""Of one step; the seeds of steps must not overlap."""
_WRITE_ATTEMPTS, _FIRST_PAUSE_S = 5, 1.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainPlan:
    """A training, resolved: what every worker needs to know."""

    uri: str
    """The run directory."""
    model: ModelConfig
    training: TrainingConfig
    micro_batch_size: int
    images: TrainImages
    threads: int
    """CPU threads of a worker."""
    device: str
    """``cpu`` or ``cuda``."""
    loader_processes: int | None
    """That decode the images of a worker which are not in memory; None: its share of its node's
    CPUs, at most 8."""
    compile: bool
    checkpoint_steps: int
    keep_checkpoints: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return self.images.num_train // self.training.batch_size

    @property
    def num_steps(self) -> int:
        """Of the whole training."""
        return self.steps_per_epoch * self.training.epochs


AfterEpoch = Callable[[Mapping[str, float]], None]
"""Takes the metrics of an epoch (``metrics.COLUMNS``), when its checkpoint is saved."""


def train(plan: TrainPlan, world: World, link: Link, after_epoch: AfterEpoch | None = None) -> None:
    """Train from the latest checkpoint on, until the end or until ``link`` says to stop.

    Args:
        plan: The training.
        world: This process among the others.
        link: Who watches; only the first rank's display is used.
        after_epoch: Called on every rank after each epoch; what it raises ends the training, which
            goes on there the next time.

    Raises:
        NasiRayError: If the loss is not finite, the memory is too small, or the storage fails.
    """
    prepare_process("cpu", plan.threads)
    if world.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        # The driver has asked about its own memory; only this process sees the GPU.
        refuse_too_large(plan.model, plan.training, plan.micro_batch_size, world.device)
    Trainer(plan, world, link, after_epoch).run()


def share_of_cpus() -> int:
    """CPUs of this node for each process that trains on it, at most 8."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torch; Ray Train sets it
    return min(MOST_LOADER_PROCESSES, max(1, (os.cpu_count() or 1) // here))


class Trainer:
    """One process's part of a training."""

    def __init__(
        self, plan: TrainPlan, world: World, link: Link, after_epoch: AfterEpoch | None = None
    ) -> None:
        config, self._after_epoch = plan.training, after_epoch
        self._plan, self._config, self._world, self._link = plan, config, world, link
        self._storage: Storage = open_storage(plan.uri)
        self._state = TrainState(plan.model, config, world, compile=plan.compile)
        self._schedule = Schedule(self._state.optimizer, config, plan.steps_per_epoch)
        self._criterion = make_criterion(config)
        self._mixup = make_mixup(config, plan.model.num_classes)
        self._part = Shard(
            seed=config.seed,
            rank=world.rank,
            world_size=world.size,
            batch_size=config.batch_size,
            micro_batch_size=plan.micro_batch_size,
        )
        self._loader = make_loader(
            plan.images,
            config,
            self._part,
            processes=share_of_cpus() if plan.loader_processes is None else plan.loader_processes,
            prefetch=world.device.type == "cuda",
        )
        self._rows: list[dict[str, float]] = []
        self._first_step = 0
        self._loss = torch.zeros((), dtype=torch.float64, device=world.device)
        """Sum of this epoch's losses on this rank."""
        self._meter = Meter(link, world, num_steps=plan.num_steps, config=config)

    def run(self) -> None:
        """See ``train``."""
        self._resume()
        self._state.wrap()
        steps = self._plan.steps_per_epoch
        self._meter.begin(self._first_step)
        for epoch in range(self._first_step // steps, self._config.epochs):
            if not self._epoch(epoch, self._first_step - epoch * steps):
                return
            self._first_step = (epoch + 1) * steps
            self._loss.zero_()
            self._save(self._first_step)
            if self._after_epoch is not None:
                self._after_epoch(self._rows[-1])

    def _resume(self) -> None:
        data = checkpoints.latest(self._storage) if self._world.is_first else None
        data = self._world.broadcast(data)
        if data is None:
            return
        state = checkpoints.read(data, f"the latest checkpoint of {self._plan.uri}")
        if state["steps_per_epoch"] != self._plan.steps_per_epoch:
            raise ConfigError(
                f"{self._plan.uri} has checkpoints of a training with "
                f"{state['steps_per_epoch']} steps an epoch; this one has "
                f"{self._plan.steps_per_epoch}: use another --out"
            )
        self._state.restore(state)
        self._rows, self._first_step = state["history"], state["step"]
        losses: Tensor = state["losses"]
        if len(losses) == self._world.size:
            self._loss += losses[self._world.rank].to(self._world.device)
        elif self._world.is_first:  # another number of workers
            self._loss += losses.sum().to(self._world.device)
        if self._world.is_first:
            steps = self._plan.steps_per_epoch
            epoch, step = divmod(self._first_step, steps)
            where = f", step {step} of {steps}" if step else ""
            now, before = self._world.size, len(losses)
            others = "" if now == before else f", with {plural(now, 'worker')} instead of {before}"
            if epoch < self._config.epochs:
                self._link.message(f"continues at epoch {epoch + 1}{where}{others}")

    def _epoch(self, epoch: int, start: int) -> bool:
        """Train and test; False if the run is to stop."""
        config, steps = self._config, self._plan.steps_per_epoch
        self._state.net.train()
        self._state.set_drop_path(config.drop_path * epoch / config.epochs)
        self._meter.begin_epoch(epoch, self._rows)
        batches = self._loader.train(epoch, start)
        for step in range(epoch * steps + start, (epoch + 1) * steps):
            self._step(step, batches)
            if not self._after_step(step + 1):
                return False
        self._finish_epoch(epoch)
        return True

    def _step(self, step: int, batches: Iterator[Batch]) -> None:
        state = self._state
        self._schedule.set(step)
        state.optimizer.zero_grad(set_to_none=True)
        mine = self._part.micro_batches
        for number in mine:
            with self._meter.waiting():
                x, y = next(batches)
            is_last = number + 1 == mine.stop
            with contextlib.nullcontext() if is_last else state.without_sync():
                self._accumulate(step, number, x, y)
        if self._config.clip_grad:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.net.parameters(), self._config.clip_grad)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.ema is not None:
            state.ema.update(state.net, step=step + 1)

    def _accumulate(self, step: int, number: int, x: Tensor, y: Tensor) -> None:
        """Add the gradient of one micro-batch."""
        device, state = self._world.device, self._state
        x, y = to_device(x, device), y.to(device, non_blocking=True)
        # Masks depend on the place of the micro-batch in the step, not on which rank has it.
        place = step * _MAX_MICRO_BATCHES + number
        seed = torch_seed(self._config.seed, "step", place)
        torch.manual_seed(seed)
        target = y
        if self._mixup is not None:
            np.random.seed(seed % (1 << 32))  # noqa: NPY002, timm draws from it
            x, target = self._mixup(x, y)
        with state.autocast():
            output = state.model(x)
            logits, auxiliary = output if isinstance(output, tuple) else (output, None)
            main = loss = self._criterion(logits, target)
            if auxiliary is not None:
                loss = main + self._config.auxiliary_weight * self._criterion(auxiliary, target)
        # The ranks' gradients are averaged, however many micro-batches each has.
        per_rank = self._part.num_micro_batches / self._world.size
        state.scaler.scale(loss / per_rank).backward()
        self._loss += main.detach().double() * len(y)

    def _after_step(self, done: int) -> bool:
        """Show, save or stop; False if the run is to stop."""
        if self._meter.is_due(done):
            self._refuse_infinite(float(self._loss))
            self._meter.show(done)
        wish = self._meter.wish(done)
        if done % self._plan.steps_per_epoch == 0:
            return True  # saved when it is tested; who wishes to stop says so again
        every = self._plan.checkpoint_steps
        if wish != "go" or (every and done % every == 0):
            self._save(done)
        if wish == "save" and self._world.is_first:
            self._link.message("a node will be shut down: saved a checkpoint")
        return wish != "stop"

    def _finish_epoch(self, epoch: int) -> None:
        steps, size = self._plan.steps_per_epoch, self._config.batch_size
        lr = self._state.optimizer.param_groups[0]["lr"]
        speed = self._meter.end_training()
        train_loss = float(self._world.sum(self._loss)) / (steps * size)
        self._refuse_infinite(train_loss)
        self._state.unify_statistics()
        tested, count = test(self._state, self._loader, self._world)
        assert count == self._plan.images.num_test, "a test image was left out, or counted twice"
        self._refuse_infinite(tested["test_loss"])
        row = {"epoch": epoch + 1, "lr": lr, "train_loss": train_loss, **tested, **speed}
        self._rows.append({**row, **self._meter.end_epoch()})
        self._meter.tell(self._rows[-1])

    def _refuse_infinite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {len(self._rows) + 1}; start again with another "
                "--out and a lower --lr, or a smaller --clip-grad"
            )

    def _save(self, step: int) -> None:
        steps = self._plan.steps_per_epoch
        losses = self._world.gather(self._loss)
        state: dict[str, Any] = {
            "step": step,
            "steps_per_epoch": steps,
            "losses": losses,
            "history": self._rows,
            **self._state.save(),
        }
        if not self._world.is_first:
            return
        self._refuse_infinite(float(losses.sum()))
        best = int(best_of(self._rows)["epoch"]) * steps if self._rows else None
        keep = self._plan.keep_checkpoints
        self._patiently(step, state, keep, best)
        if self._rows and step % steps == 0:
            write_metrics(self._storage, self._rows)

    def _patiently(self, step: int, state: dict[str, Any], keep: int, best: int | None) -> None:
        """Write a checkpoint; a storage that fails for some seconds does not end the run."""
        for attempt in range(_WRITE_ATTEMPTS):
            try:
                checkpoints.write(self._storage, step, state, keep=keep, best=best)
                return
            except StorageError as error:
                if not error.is_retryable or attempt + 1 == _WRITE_ATTEMPTS:
                    raise
                self._link.message(f"{error}; trying again")
                time.sleep(_FIRST_PAUSE_S * 2**attempt)
