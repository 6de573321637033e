"""How fast a training goes, and what is shown of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import torch

from nasi_ray.progress import DISPLAY_INTERVAL_S, ProgressState, Rate
from nasi_ray.training.recipes import TrainingConfig
from nasi_ray.training.world import Link, Wish, World


class Meter:
    """Times the steps of one process, and shows them if it is the first."""

    def __init__(self, link: Link, world: World, *, num_steps: int, config: TrainingConfig) -> None:
        self._link, self._world = link, world
        self._num_steps, self._config = num_steps, config
        self._title = ""
        self._waited_s = 0.0
        self._num_here = 0

    def begin(self, done: int) -> None:
        """Begin after so many steps."""
        now = time.monotonic()
        self._rate = Rate(done, now)
        self._next_display = now
        self._next_check, self._checked_at, self._checked_s = done + 1, done, now

    def begin_epoch(self, epoch: int, rows: Sequence[Mapping[str, float]]) -> None:
        """Begin an epoch, counted from 0; ``rows`` are the metrics of those before."""
        known = f", test top-1 {rows[-1]['top1']:.2f} %" if rows else ""
        self._title = f"epoch {epoch + 1}/{self._config.epochs}{known}"
        self._began_s = time.monotonic()
        self._waited_s, self._num_here = 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent here is time that waits for data."""
        start = time.monotonic()
        yield
        self._waited_s += time.monotonic() - start

    def is_due(self, done: int) -> bool:
        """Count a step; whether it is time to show the state."""
        self._num_here += 1
        return self._world.is_first and (
            time.monotonic() >= self._next_display or done == self._num_steps
        )

    def show(self, done: int) -> None:
        """Show the state after so many steps."""
        now = time.monotonic()
        self._next_display = now + DISPLAY_INTERVAL_S
        per_second, eta_s = self._rate.update(done, self._num_steps, now)
        state = ProgressState(
            num_done=done,
            num_total=self._num_steps,
            per_second=per_second,
            eta_s=eta_s,
            num_workers=self._world.size,
            unit="steps",
            title=self._title,
        )
        self._link.update(state)

    def wish(self, done: int) -> Wish:
        """What whoever started the run wants, asked at steps that all ranks agree on."""
        if done < self._next_check:
            return "go"
        now = time.monotonic()
        seconds = (now - self._checked_s) / max(1, done - self._checked_at)
        wish, steps = self._link.check(seconds)
        self._checked_at, self._checked_s, self._next_check = done, now, done + steps
        return wish

    def end_training(self) -> dict[str, float]:
        """The steps of the epoch are done: images/s, and the share of time waiting for data."""
        if self._world.device.type == "cuda":
            torch.cuda.synchronize(self._world.device)
        seconds = max(time.monotonic() - self._began_s, 1e-9)
        return {
            "images_per_second": self._num_here * self._config.batch_size / seconds,
            "wait_share": min(1.0, self._waited_s / seconds),
        }

    def end_epoch(self) -> dict[str, float]:
        """The epoch is tested: seconds since it began here, and the time."""
        return {"seconds": time.monotonic() - self._began_s, "time": time.time()}

    def tell(self, row: Mapping[str, float]) -> None:
        """Report the metrics of an epoch."""
        if self._world.is_first:
            self._link.message(
                f"epoch {row['epoch']}/{self._config.epochs}: loss {row['train_loss']:.4f}, test "
                f"loss {row['test_loss']:.4f}, top-1 {row['top1']:.2f} %, top-5 "
                f"{row['top5']:.2f} %, lr {row['lr']:.3g}, {row['images_per_second']:.0f} images/s"
                f" ({100 * row['wait_share']:.0f} % waiting for data)"
            )
