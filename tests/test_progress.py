"""Rates, and the progress of plain loops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from nasi_ray.progress import LoopProgress, Rate
from tests.toy import Quiet


def loop(progress: Quiet, times: Iterable[float], unit: str = "bytes") -> LoopProgress:
    clock: Iterator[float] = iter(times)
    return LoopProgress(progress, unit=unit, title="a.tfrecord", clock=lambda: next(clock))


def test_a_rate_is_that_of_the_last_half_minute() -> None:
    rate = Rate(10, now=0.0)
    assert rate.update(10, 100, now=1.0) == (None, None)
    assert rate.update(30, 100, now=10.0) == (2.0, 35.0)
    for second in range(11, 60):
        per_second, eta_s = rate.update(30 + (second - 10), 100, now=float(second))
    assert per_second == pytest.approx(1.0)
    assert eta_s == pytest.approx(100 - 30 - 49)


def test_a_count_in_no_time_has_no_rate() -> None:
    assert Rate(0, now=1.0).update(5, 10, now=1.0) == (None, None)


def test_a_loop_shows_the_first_and_the_last_state_and_two_a_second() -> None:
    progress = Quiet()
    show = loop(progress, [0.0, 0.0, 0.1, 0.4, 0.5, 0.9, 0.91, 2.0])
    for done in (0, 10, 20, 30, 90, 100, 100):
        show(done, 100)
    states = progress.states
    assert [state.num_done for state in states] == [0, 30, 100, 100]
    assert {(s.num_total, s.unit, s.title) for s in states} == {(100, "bytes", "a.tfrecord")}
    assert [s.num_workers for s in states] == [None] * 4
    assert states[1].per_second == 60.0
    assert states[1].eta_s == pytest.approx(70 / 60)
    assert states[-1].eta_s == 0


def test_an_empty_loop_is_no_division_by_zero() -> None:
    progress = Quiet()
    loop(progress, [0.0, 1.0])(0, 0)
    assert progress.states[0].eta_s is None
