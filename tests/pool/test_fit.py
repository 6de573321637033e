"""The thread in which Ray Tune and Ray Train run."""

from __future__ import annotations

import signal
import threading

import pytest
import ray
from ray.tune import run as run_tune

from nasi_ray.pool.train import Fit


class Late:
    """Uses Ray after the main thread has disconnected from it."""

    def fit(self) -> None:
        ray.put(1)


class Early:
    """Begins to tune after the main thread has disconnected from Ray."""

    def fit(self) -> None:
        run_tune(lambda config: None, verbose=0)


def test_no_other_ray_is_started_after_a_stop() -> None:
    before = ray._private.auto_init_hook.enable_auto_connect
    for trainer in (Late(), Early()):
        fit = Fit(trainer)
        assert fit.wait(60)
        assert "ray.init" in str(fit.error)
        assert not ray.is_initialized()
    assert ray._private.auto_init_hook.enable_auto_connect == before


class Long:
    """Ends when it may."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def fit(self) -> None:
        assert self.may_end.wait(60)


def test_a_wait_that_ctrl_c_interrupts_does_not_take_it_for_ended() -> None:
    trainer = Long()
    fit = Fit(trainer)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit.wait(60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not fit.wait(0.1)
    assert not fit.is_over
    trainer.may_end.set()
    assert fit.wait(60)
    assert fit.error is None
