"""The thread in which Ray Tune and Ray Train run."""

from __future__ import annotations

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
