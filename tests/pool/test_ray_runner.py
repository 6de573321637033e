from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from nasi_ray.config import ComputeSettings
from nasi_ray.errors import NoCapacityError, UnequalResultsError, UnknownNameError, WorkerError
from nasi_ray.pool.nodes import plan_for
from nasi_ray.pool.ray_runner import RayRunner
from nasi_ray.pool.scheduler.decisions import Decision, FailSample, GiveUp
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.runner import InProcessRunner, Runner

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]

Row = tuple[int, float]
Evaluate = Callable[[int], Row]


@contextmanager
def runner_of(
    factory: Callable[..., Evaluate], *args: Any, num_workers: int = 2, **options: Any
) -> Iterator[RayRunner[Row]]:
    config = ComputeSettings(
        num_workers=num_workers,
        gpus_per_worker=options.pop("gpus", 0),
        capacity_timeout_s=options.pop("capacity_timeout_s", 60.0),
    )
    runner = RayRunner(factory, args, plan=plan_for(config), on_failed=failed_row, **options)
    try:
        yield runner
    finally:
        runner.close()


def failed_row(index: int, reason: str) -> Row:
    failures[index] = reason
    return (index, float("nan"))


failures: dict[int, str] = {}

HURRIED = PoolPolicy(min_stable_s=0.1)
"""Does not wait long before a final retry."""


def collect(runner: Runner[Row], indices: Sequence[int]) -> dict[int, float]:
    rows = [row for batch in runner.run(indices) for row in batch]
    assert sorted(index for index, _ in rows) == sorted(indices)
    return dict(rows)


def make_noise(scale: float = 1.0, sleep_s: float = 0.0) -> Evaluate:
    def evaluate(index: int) -> Row:
        time.sleep(sleep_s)
        return index, scale * float(np.random.default_rng(index).normal())

    return evaluate


def noise_factory() -> Callable[..., Evaluate]:
    # A nested function is pickled by value: the workers need not find this file.
    def factory(scale: float, sleep_s: float = 0.0) -> Evaluate:
        import time

        import numpy as np

        def evaluate(index: int) -> Row:
            time.sleep(sleep_s)
            return index, scale * float(np.random.default_rng(index).normal())

        return evaluate

    return factory


def pids_factory() -> Callable[..., Evaluate]:
    def factory(folder: str, sleep_s: float) -> Evaluate:
        import os
        import time
        from pathlib import Path

        (Path(folder) / str(os.getpid())).touch()

        def evaluate(index: int) -> Row:
            time.sleep(sleep_s)
            return index, float(index)

        return evaluate

    return factory


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_results_equal_those_of_one_process_for_any_number_of_workers(num_workers: int) -> None:
    serial = collect(InProcessRunner(make_noise(2.0)), range(100))
    with runner_of(noise_factory(), 2.0, num_workers=num_workers) as runner:
        assert collect(runner, range(100)) == serial
        assert 1 <= runner.status().num_alive <= num_workers


def test_a_second_run_reuses_the_workers(tmp_path: Path) -> None:
    with runner_of(pids_factory(), str(tmp_path), 0.0) as runner:
        collect(runner, range(10))
        collect(runner, range(5, 30))
        assert len(list(tmp_path.iterdir())) <= 2


def test_an_array_argument_is_read_from_the_object_store_without_a_copy() -> None:
    def factory(values: np.ndarray[Any, Any], by_ref: np.ndarray[Any, Any]) -> Evaluate:
        is_shared = not values.flags.owndata and not values.flags.writeable

        def evaluate(index: int) -> Row:
            return index, float(values[index] + by_ref[index]) if is_shared else float("nan")

        return evaluate

    values = np.arange(200_000, dtype=np.float64)
    with runner_of(factory, values, ray.put(values)) as runner:
        assert collect(runner, range(20)) == {index: 2.0 * index for index in range(20)}


def test_a_users_functions_and_classes_reach_the_workers_by_value() -> None:
    class Proxy:
        """Like a plug-in that no worker can import."""

        scale = 3.0

        def score(self, index: int) -> float:
            return self.scale * square(index)

    def square(index: int) -> float:
        return float(index**2)

    def make(proxies: Mapping[str, Any], offset: float) -> Evaluate:
        proxy = proxies["mine"]()
        return lambda index: (index, proxy.score(index) + offset)

    offset = 0.5

    def factory(proxies: Mapping[str, Any]) -> Evaluate:
        return make(proxies, offset)

    with runner_of(factory, {"mine": Proxy}) as runner:
        assert collect(runner, range(20)) == {i: 3.0 * i * i + 0.5 for i in range(20)}


def test_a_worker_killed_in_the_middle_costs_no_sample(tmp_path: Path) -> None:
    rows: list[Row] = []
    with runner_of(pids_factory(), str(tmp_path), 0.02) as runner:
        is_killed = False
        for batch in runner.run(range(200)):
            rows += batch
            if not is_killed and len(rows) > 20:
                os.kill(int(next(tmp_path.iterdir()).name), signal.SIGKILL)
                is_killed = True
        status = runner.status()
    assert sorted(rows) == [(index, float(index)) for index in range(200)]
    assert status.num_deaths == 1
    assert status.num_requeued >= 1


def test_a_sample_that_kills_its_worker_is_named_after_its_attempts(tmp_path: Path) -> None:
    def factory(folder: str) -> Evaluate:
        import os
        from pathlib import Path

        def evaluate(index: int) -> Row:
            if index == 17:
                (Path(folder) / str(os.getpid())).touch()
                os._exit(1)
            return index, float(index)

        return evaluate

    failures.clear()
    policy = PoolPolicy(max_final_retries=1, min_stable_s=0.5)
    with runner_of(factory, str(tmp_path), policy=policy) as runner:
        rows = collect(runner, range(40))
        assert runner.status().num_deaths >= 3
    assert list(failures) == [17]
    assert "4 attempts failed; the worker died" in failures[17]
    assert "\n" not in failures[17]
    assert len(list(tmp_path.iterdir())) >= 3
    assert all(rows[index] == index for index in range(40) if index != 17)


def test_a_sample_that_raises_is_named_with_what_it_raised() -> None:
    def factory() -> Evaluate:
        def evaluate(index: int) -> Row:
            if index == 3:
                raise ValueError("no good\nsecond line")
            return index, float(index)

        return evaluate

    failures.clear()
    with runner_of(factory, policy=HURRIED) as runner:
        collect(runner, range(20))
    assert failures == {3: "6 attempts failed; ValueError: no good"}


def test_a_result_that_cannot_be_sent_fails_its_sample_only() -> None:
    def factory() -> Callable[[int], Any]:
        def evaluate(index: int) -> Any:
            return (index, float(index)) if index != 2 else (i for i in range(3))

        return evaluate

    failures.clear()
    with runner_of(factory, policy=HURRIED) as runner:
        collect(runner, range(20))
    assert list(failures) == [2]
    assert "generator" in failures[2]


def test_a_user_error_of_the_factory_is_raised_as_it_is() -> None:
    def factory() -> Evaluate:
        raise UnknownNameError("space", "dart", ["darts", "nb201"])

    with runner_of(factory) as runner, pytest.raises(UnknownNameError) as raised:
        collect(runner, range(3))
    assert str(raised.value) == str(UnknownNameError("space", "dart", ["darts", "nb201"]))


def test_a_factory_that_keeps_failing_ends_the_run_with_its_reason() -> None:
    def factory() -> Evaluate:
        raise OSError("no such library")

    policy = PoolPolicy(max_failures_in_row=2)
    with runner_of(factory, policy=policy) as runner, pytest.raises(WorkerError) as raised:
        collect(runner, range(3))
    message = str(raised.value)
    assert message.startswith("2 attempts failed in a row")
    assert "OSError: no such library" in message
    assert "\n" not in message


def test_results_that_come_with_the_end_of_a_run_are_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with runner_of(noise_factory(), 1.0, num_workers=1) as runner:
        scheduler = runner._scheduler
        decide, come = scheduler.decide, []
        call_done = scheduler.call_done

        def note(*args: Any) -> list[Row]:
            come.extend(rows := call_done(*args))
            return rows

        def give_up(now: float) -> list[Decision]:
            return [FailSample(99, "lost"), GiveUp("enough")] if come else decide(now)

        monkeypatch.setattr(scheduler, "call_done", note)
        monkeypatch.setattr(scheduler, "decide", give_up)
        rows: list[Row] = []
        with pytest.raises(WorkerError, match="enough"):
            rows.extend(row for batch in runner.run(range(5)) for row in batch)
    assert rows[:-1] == come
    assert rows[-1][0] == 99


def test_results_that_depend_on_the_worker_are_detected() -> None:
    def factory() -> Evaluate:
        import os
        import time

        def evaluate(index: int) -> Row:
            # Sample 0 is late and gets a backup; sample 1 keeps the run going until both are in.
            time.sleep({0: 4.0, 1: 12.0}.get(index, 0.01))
            return index, float(os.getpid())

        return evaluate

    policy = PoolPolicy(straggler_factor=0.1)
    with (
        runner_of(factory, num_workers=3, same=lambda a, b: a == b, policy=policy) as runner,
        pytest.raises(UnequalResultsError, match="sample 0 gave two different results"),
    ):
        collect(runner, range(20))


def test_a_gpu_that_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(NoCapacityError) as raised, runner_of(noise_factory(), 1.0, gpus=1):
        pass
    assert "1 CPU and 1 GPU" in str(raised.value)
    assert "1 × (4 CPU, 0 GPU)" in str(raised.value)


def test_a_full_cluster_ends_the_run_at_the_deadline() -> None:
    class Holder:
        @ray.method
        def ping(self) -> None: ...

    holder: Any = ray.remote(Holder).options(num_cpus=4).remote()
    ray.get(holder.ping.remote())
    try:
        with (
            runner_of(noise_factory(), 1.0, capacity_timeout_s=2.0) as runner,
            pytest.raises(NoCapacityError, match=r"no worker \(1 CPU each\) could be started"),
        ):
            collect(runner, range(3))
    finally:
        ray.kill(holder)


def test_empty_batches_come_while_a_sample_runs(tmp_path: Path) -> None:
    def factory(signal: str) -> Evaluate:
        import time
        from pathlib import Path

        def evaluate(index: int) -> Row:
            while not Path(signal).exists():
                time.sleep(0.05)
            return index, 1.0

        return evaluate

    signal = tmp_path / "go on"
    with runner_of(factory, str(signal), num_workers=1) as runner:
        num_empty = 0
        for batch in runner.run([1]):
            num_empty += not batch
            if num_empty == 20:
                signal.touch()
    assert num_empty >= 20


def test_more_workers_than_fit_leaves_the_rest_pending() -> None:
    with runner_of(noise_factory(), 1.0, 0.01, num_workers=6) as runner:
        collect(runner, range(300))
        status = runner.status()
    assert status.num_alive <= 4
    assert status.num_starting >= 2


def test_close_kills_the_workers_at_once_and_twice_does_no_harm(tmp_path: Path) -> None:
    with runner_of(pids_factory(), str(tmp_path), 3000.0) as runner:
        for _ in runner.run(range(4)):
            if runner.status().num_alive == 2:
                break
        pids = [int(path.name) for path in tmp_path.iterdir()]
        runner.close()
        runner.close()
        while any(Path(f"/proc/{pid}").exists() for pid in pids):  # each would run on for an hour
            time.sleep(0.05)
        with pytest.raises(RuntimeError, match="closed"):
            next(runner.run([1]))


def test_libraries_of_a_worker_see_its_number_of_threads() -> None:
    def factory() -> Evaluate:
        import os

        def evaluate(index: int) -> Row:
            return index, float(os.environ["OMP_NUM_THREADS"] + os.environ["MKL_NUM_THREADS"])

        return evaluate

    config = ComputeSettings(num_workers=1, gpus_per_worker=0, threads_per_worker=3)
    runner = RayRunner(factory, (), plan=plan_for(config), on_failed=failed_row)
    try:
        assert collect(runner, [0]) == {0: 33.0}
    finally:
        runner.close()
