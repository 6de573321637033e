from __future__ import annotations

import pytest

from nasi_ray.pool.scheduler.policy import HoldTimer, PoolPolicy, chunk_length


@pytest.mark.parametrize(
    ("sample_s", "num_queued", "workers", "expected"),
    [
        (None, 1000, 2, 1),
        (0.05, 1000, 2, 15),
        (2.0, 1000, 2, 1),
        (0.001, 10_000, 2, 64),
        (0.0, 10_000, 2, 64),
        (0.05, 20, 2, 5),
        (0.05, 1, 2, 1),
        (0.05, 0, 0, 1),
    ],
)
def test_chunk_length_follows_pace_and_share(
    sample_s: float | None, num_queued: int, workers: int, expected: int
) -> None:
    assert chunk_length(PoolPolicy(), sample_s, num_queued, workers) == expected


def test_a_timer_starts_again_when_its_condition_is_interrupted() -> None:
    timer = HoldTimer()
    assert timer.update(True, 5.0) == 0.0
    assert timer.update(True, 8.0) == 3.0
    assert timer.update(False, 9.0) == 0.0
    assert timer.update(True, 10.0) == 0.0
    timer.reset()
    assert timer.update(True, 12.0) == 0.0
    assert timer.update(True, 13.0) == 1.0
