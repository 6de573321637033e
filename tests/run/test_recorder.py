"""The storing thread: order, once each, hanging and failing storage, interruption."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import sleep

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import (
    RecordConflictError,
    RecordCorruptError,
    RunLockedError,
    SearchStoppedError,
    StorageError,
    StorageRefusedError,
    UnequalResultsError,
    WorkerError,
)
from nasi_ray.records import RecordStore, SampleRows
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.run import recorder as recorder_module
from nasi_ray.run.recorder import Recorder, RecorderPolicy
from nasi_ray.runner import InProcessRunner, Runner, RunnerStatus
from nasi_ray.search.collect import collect
from nasi_ray.storage import LocalStorage
from tests.contracts.records import KINDS, Kind
from tests.toy import SPACE, Quiet, toy_sample

Store = RecordStore[Sample, SampleTable]
Write = Callable[[], None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return RecordStore.open(LocalStorage(str(tmp_path)), identity={"toy": 1}, rows=SampleRows(84))


@pytest.fixture
def before_writes(monkeypatch: pytest.MonkeyPatch) -> list[Write]:
    """What is called before a part is written."""
    calls: list[Write] = []
    create = LocalStorage.create

    def create_later(self: LocalStorage, name: str, data: bytes) -> bool:
        if name.startswith("samples/"):
            for call in list(calls):
                call()
        return create(self, name, data)

    monkeypatch.setattr(LocalStorage, "create", create_later)
    monkeypatch.setattr("nasi_ray.run.recorder.time.sleep", lambda seconds: None)
    return calls


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def parts(path: Path) -> list[list[int]]:
    """The indices in each part, in the order of writing."""
    return [
        pq.read_table(part)["index"].to_pylist()
        for part in sorted((path / "samples").glob("part-*.parquet"))
    ]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200.0
    while not condition():
        assert time.monotonic() < deadline
        sleep(0.005)


def fail(error: Exception) -> Write:
    def write() -> None:
        raise error

    return write


def test_records_are_stored_in_order_a_part_an_interval(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    with Recorder(store, Quiet(), clock) as recorder:
        for index in range(12):
            recorder.add([toy_sample(index)])
            clock.now += 1.0
            recorder.add([])
        assert recorder.num_waiting <= 12
        recorder.flush()
        assert recorder.num_waiting == 0
        recorder.flush()
    assert parts(tmp_path) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_a_slow_stream_has_rarer_parts_once_it_has_run_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    appended: list[int] = []
    append = store.append

    def count(rows: Sequence[Sample]) -> None:
        append(rows)
        appended.append(len(rows))

    monkeypatch.setattr(store, "append", count)
    with Recorder(store, Quiet(), clock) as recorder:
        for index in range(2000):
            recorder.add([toy_sample(index)])
            clock.now += 3.0
        recorder.flush()
    lengths = appended[1:-1]
    assert lengths[0] == 2  # 6 s
    assert lengths == sorted(lengths)
    assert lengths[-1] == 20  # 60 s
    ends_s = 9.0 + 3.0 * np.cumsum(lengths)
    waits_s = 3.0 * np.array(lengths)
    assert (waits_s <= np.maximum(5.0, 0.02 * ends_s) + 3.0).all()


def test_hours_of_slow_samples_leave_few_parts_at_any_time(
    store: Store, tmp_path: Path, before_writes: list[Write]
) -> None:
    clock, nums = Clock(), []
    before_writes.append(lambda: nums.append(store.num_parts))
    with Recorder(store, Quiet(), clock) as recorder:
        for index in range(240):
            recorder.add([toy_sample(index)])
            clock.now += 60.0
        recorder.flush()
    assert len(nums) >= 240 / 2
    assert max(nums) <= 2 * 16  # singles, and parts of 16
    assert sorted(i for part in parts(tmp_path) for i in part) == list(range(240))


MERGE_FAULTS: dict[str, tuple[Exception, int]] = {
    "a refusal": (StorageRefusedError("not allowed"), 1),
    "a torn part": (RecordCorruptError("torn"), 1),
    "a part of other settings": (RecordConflictError("other settings"), 1),
    "a failure that passes": (StorageError("503"), 0),
}
"""What a merge raises, and how often it is told."""


@pytest.mark.parametrize("name", MERGE_FAULTS)
def test_records_are_stored_though_their_parts_cannot_be_merged(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    error, num_told = MERGE_FAULTS[name]
    tried: list[int] = []

    def merge_small() -> None:
        tried.append(len(parts(tmp_path)))
        raise error

    monkeypatch.setattr(store, "merge_small", merge_small)
    clock, progress = Clock(), Quiet()
    with Recorder(store, progress, clock) as recorder:
        for index in range(30):
            recorder.add([toy_sample(index)])
            clock.now += 60.0
            recorder.add([])
        recorder.flush()
        recorder.add([])
    assert sorted(i for part in parts(tmp_path) for i in part) == list(range(30))
    assert progress.messages == [f"small record files are no longer merged: {error}"] * num_told
    assert len(tried) == 1 if num_told else len(tried) > 1


@pytest.mark.parametrize("per_s", [20, 100])
def test_a_fast_stream_has_a_part_every_five_seconds_for_ever(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_s: int
) -> None:
    monkeypatch.setattr(store, "merge_small", lambda: None)
    clock = Clock()
    with Recorder(store, Quiet(), clock) as recorder:
        for index in range(4000):
            recorder.add([toy_sample(index)])
            clock.now += 1 / per_s
        recorder.flush()
    lengths = [len(part) for part in parts(tmp_path)][1:-1]
    assert all(abs(n - 5 * per_s) <= 1 for n in lengths)


def test_a_slow_stream_never_has_more_than_64_records_in_memory(
    store: Store, tmp_path: Path
) -> None:
    clock = Clock()
    clock.now = 1e6
    with Recorder(store, Quiet(), clock) as recorder:
        clock.now = 2e6
        for index in range(200):
            recorder.add([toy_sample(index)])
            clock.now += 0.5
        recorder.flush()
    assert [len(part) for part in parts(tmp_path)] == [1, 64, 64, 64, 7]


def test_many_records_do_not_wait_for_the_interval(store: Store, tmp_path: Path) -> None:
    with Recorder(store, Quiet(), Clock(), RecorderPolicy(max_part=3)) as recorder:
        recorder.add([toy_sample(0), toy_sample(1)])
        recorder.add([toy_sample(2), toy_sample(3)])
        wait_until(lambda: recorder.num_waiting == 0)
        recorder.add([toy_sample(4)])
        assert recorder.num_waiting == 1
        recorder.flush()
    assert parts(tmp_path) == [[0, 1, 2, 3], [4]]


def test_a_part_is_stored_when_due_though_nothing_is_called(store: Store, tmp_path: Path) -> None:
    policy = RecorderPolicy(part_interval_s=0.6, poll_s=0.01)
    with Recorder(store, Quiet(), policy=policy) as recorder:
        for indices in ([0], [1, 2], [3]):
            for index in indices:
                recorder.add([toy_sample(index)])
            assert recorder.num_waiting == len(indices)
            wait_until(lambda: recorder.num_waiting == 0)
        recorder.flush()
    assert parts(tmp_path) == [[0], [1, 2], [3]]


def test_a_sample_is_stored_while_a_long_one_is_evaluated_in_process(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RecorderPolicy(part_interval_s=0.1, poll_s=0.01)
    monkeypatch.setattr("nasi_ray.run.collect.Recorder", partial(Recorder, policy=policy))

    def evaluate(index: int) -> Sample:
        if index == 1:
            wait_until(lambda: parts(tmp_path) == [[0]])
        return toy_sample(index)

    collect_toy(store, InProcessRunner(evaluate), Quiet())


def test_the_thread_sleeps_while_nothing_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float | None] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread().name == "recorder":
                timeouts.append(timeout)
            return super().wait(timeout)

    monkeypatch.setattr(threading, "Event", Watched)
    policy = RecorderPolicy(part_interval_s=0.01, poll_s=0.01)
    with Recorder(store, Quiet(), policy=policy) as recorder:
        recorder.add([toy_sample(0)])
        wait_until(lambda: recorder.num_waiting == 0)
        sleep(0.1)
        assert timeouts[-1] is None
        num_waits = len(timeouts)
        sleep(0.2)
        assert len(timeouts) == num_waits < 10


def collect_toy(store: Store, runner: Runner[Sample], progress: Quiet) -> None:
    collect(
        range(4),
        runner=runner,
        store=store,
        progress=progress,
        space=SPACE,
        config=EstimateConfig(num_samples=4),
    )


@pytest.mark.parametrize(
    "end", [UnequalResultsError("sample 3 gave two results"), KeyboardInterrupt(), ValueError("x")]
)
@pytest.mark.parametrize("failure", [StorageError("disk full"), RunLockedError("taken over")])
def test_a_storage_failure_hides_not_what_the_run_ended_with(
    store: Store, before_writes: list[Write], end: BaseException, failure: Exception
) -> None:
    before_writes.append(fail(failure))
    progress = Quiet()
    expected = SearchStoppedError if isinstance(end, KeyboardInterrupt) else type(end)
    with pytest.raises(expected) as caught:
        collect_toy(store, Interrupted(end, num_samples=3), progress)
    told = progress.messages[-2 if expected is SearchStoppedError else -1]
    assert told.startswith(f"{failure}; 3 evaluated samples were not stored")
    if expected is SearchStoppedError:
        assert "stopped with 0 of 4 samples stored" in str(caught.value)
    else:
        assert str(caught.value) == str(end)
        assert told in caught.value.__notes__


def test_a_stop_is_one_though_the_storage_cannot_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(indices: object) -> list[int]:
        raise StorageError("S3 is down")

    monkeypatch.setattr(store, "missing", refuse)
    progress = Quiet()
    with pytest.raises(SearchStoppedError, match="to continue from what is stored"):
        collect_toy(store, Interrupted(KeyboardInterrupt(), num_samples=1), progress)
    assert progress.messages == ["S3 is down"]


def test_a_storage_failure_that_ends_the_run_is_told_once(
    store: Store, before_writes: list[Write]
) -> None:
    before_writes.append(fail(StorageError("disk full")))
    progress = Quiet()
    with pytest.raises(StorageError, match="disk full; 4 evaluated"):
        collect_toy(store, InProcessRunner(toy_sample), progress)
    assert set(progress.messages) == {"disk full; trying again"}


def test_a_lost_lock_says_how_many_samples_wait(store: Store, before_writes: list[Write]) -> None:
    before_writes.append(fail(RunLockedError("taken over")))
    with pytest.raises(
        RunLockedError,
        match=r"^taken over; 4 evaluated samples were not stored; run the same command again to "
        r"evaluate them again$",
    ):
        collect_toy(store, InProcessRunner(toy_sample), Quiet())


def test_a_flush_of_storage_that_hangs_is_not_tried_for_ever(
    store: Store, before_writes: list[Write]
) -> None:
    tried = []

    def write() -> None:
        tried.append(1)
        sleep(0.1)
        raise StorageError("no answer")

    before_writes.append(write)
    with Recorder(store, Quiet(), Clock(), RecorderPolicy(flush_grace_s=0.05)) as recorder:
        recorder.add([toy_sample(0)])
        with pytest.raises(StorageError, match="no answer"):
            recorder.flush()
    assert len(tried) == 2  # the part, and the flush


def test_storage_that_hangs_holds_up_nobody_and_is_told_once(
    store: Store, tmp_path: Path, before_writes: list[Write]
) -> None:
    answers, clock, progress = threading.Event(), Clock(), Quiet()
    before_writes.append(lambda: assert_true(answers.wait(200.0)))
    with Recorder(store, progress, clock, RecorderPolicy(silence_s=0.05)) as recorder:
        for index in range(10):
            recorder.add([toy_sample(index)])
            clock.now += 6.0
        assert recorder.num_waiting == 10
        wait_until_shown(recorder, progress)
        for _ in range(3):
            recorder.add([])
        assert progress.messages == [
            "the storage has not answered for 0 s; 10 samples wait in memory"
        ]
        answers.set()
        recorder.flush()
    assert parts(tmp_path) == [[0, 1], *[[index] for index in range(2, 10)]]


def assert_true(value: bool) -> None:
    assert value


def test_as_many_as_memory_holds_are_waited_for(store: Store, before_writes: list[Write]) -> None:
    policy = RecorderPolicy(max_waiting=4, max_part=2)
    answers = threading.Event()
    before_writes.append(lambda: assert_true(answers.wait(200.0)))
    threading.Timer(0.3, answers.set).start()
    with Recorder(store, Quiet(), Clock(), policy) as recorder:
        recorder.add([toy_sample(index) for index in range(4)])
        assert answers.is_set()
        assert recorder.num_waiting == 0


def test_a_failure_that_passes_loses_nothing_and_stores_nothing_twice(
    store: Store, tmp_path: Path, before_writes: list[Write]
) -> None:
    clock, progress = Clock(), Quiet()
    before_writes.append(fail(StorageError("S3 is down")))
    with Recorder(store, progress, clock, RecorderPolicy(retry_s=0.02)) as recorder:
        for index in range(6):
            recorder.add([toy_sample(index)])
            clock.now += 6.0
        wait_until_shown(recorder, progress)
        before_writes.clear()
        wait_until(lambda: (recorder.add([]), recorder.num_waiting == 0)[1])  # type: ignore[func-returns-value]
    assert progress.messages == ["S3 is down; trying again"]
    assert [index for part in parts(tmp_path) for index in part] == list(range(6))


def test_a_failed_append_is_not_tried_again_for_every_part(
    store: Store, tmp_path: Path, before_writes: list[Write]
) -> None:
    clock, tried = Clock(), []

    def write() -> None:
        tried.append(1)
        raise StorageError("S3 is down")

    before_writes.append(write)
    with Recorder(store, Quiet(), clock, RecorderPolicy(retry_s=1e6)) as recorder:
        for index in range(5):
            recorder.add([toy_sample(index)])
            clock.now += 6.0
        wait_until(lambda: bool(tried))
        sleep(0.1)
        assert (len(tried), recorder.num_waiting) == (1, 5)
        before_writes.clear()
        recorder.flush()
    assert [index for part in parts(tmp_path) for index in part] == list(range(5))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_append_whose_answer_was_lost_is_not_stored_twice(
    tmp_path: Path, before_writes: list[Write], monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    storage = LocalStorage(str(tmp_path))
    store = RecordStore.open(storage, identity={}, rows=kind.rows)
    create, answers_lost = LocalStorage.create, [True, True]

    def lose_answer(self: LocalStorage, name: str, data: bytes) -> bool:
        is_new = create(self, name, data)
        if answers_lost:
            answers_lost.pop()
            raise StorageError("no answer")
        return is_new

    monkeypatch.setattr(LocalStorage, "create", lose_answer)
    clock = Clock()
    with Recorder(store, Quiet(), clock, RecorderPolicy(retry_s=1e6)) as recorder:
        recorder.add([kind.make(0), kind.make(1)])
        clock.now += 6.0
        recorder.add([])
        wait_until(lambda: len(answers_lost) == 1)
        recorder.add([kind.make(2)])
        recorder.flush()
    assert not answers_lost
    stored = [
        index
        for name in storage.list(kind.folder)
        for index in pq.read_table(pa.BufferReader(storage.read(name)))["index"].to_pylist()
    ]
    assert sorted(stored) == [0, 1, 2]


def test_a_flush_of_nothing_writes_nothing(store: Store) -> None:
    with Recorder(store, Quiet(), Clock()) as recorder:
        recorder.flush()
    assert store.num_parts == 0


@pytest.mark.parametrize("kind", [StorageError, StorageRefusedError])
def test_a_failure_that_lasts_is_raised_at_the_next_add_with_what_waits(
    store: Store, before_writes: list[Write], kind: type[StorageError]
) -> None:
    clock, progress = Clock(), Quiet()
    before_writes.append(fail(kind("S3 is down")))
    with Recorder(store, progress, clock, RecorderPolicy(retry_s=0.01)) as recorder:
        recorder.add([toy_sample(0)])
        clock.now += 6.0
        recorder.add([toy_sample(1)])
        wait_until_shown(recorder, progress)
        clock.now += 61.0
        with pytest.raises(kind, match=r"^S3 is down; 2 evaluated samples were not stored"):
            wait_until(lambda: bool(recorder.add([])))  # type: ignore[func-returns-value]
        with pytest.raises(kind, match=r"^S3 is down; 3 evaluated samples were not stored"):
            recorder.add([toy_sample(2)])
        with pytest.raises(kind, match="3 evaluated samples"):
            recorder.flush()


def wait_until_shown(recorder: Recorder[Sample], progress: Quiet) -> None:
    """Wait for the first message."""
    wait_until(lambda: (recorder.add([]), bool(progress.messages))[1])  # type: ignore[func-returns-value]


@pytest.mark.parametrize("error", [RunLockedError("taken over"), ZeroDivisionError("a bug")])
def test_what_ends_the_thread_is_raised_as_it_is(
    store: Store, before_writes: list[Write], error: Exception
) -> None:
    before_writes.append(fail(error))
    with Recorder(store, Quiet(), Clock()) as recorder:
        recorder.add([toy_sample(0)])
        with pytest.raises(type(error), match=str(error)):
            recorder.flush()
        with pytest.raises(type(error), match=str(error)):
            recorder.add([])
        assert recorder.num_waiting == 1
    assert "recorder" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_flush_that_fails_is_tried_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    tried = []

    def refuse(self: LocalStorage, name: str, data: bytes) -> bool:
        tried.append(name)
        raise StorageError("full")

    store = RecordStore.open(LocalStorage(str(tmp_path)), identity={}, rows=kind.rows)
    monkeypatch.setattr(LocalStorage, "create", refuse)
    monkeypatch.setattr("nasi_ray.run.recorder.time.sleep", lambda seconds: None)
    progress = Quiet()
    with Recorder(store, progress, Clock()) as recorder:
        recorder.add([kind.make(0)])
        with pytest.raises(StorageError, match=f"full; 1 evaluated {kind.label}s were not stored"):
            recorder.flush(attempts=3)
    # One when the part was due, which is tolerated, and three.
    assert len(tried) == 4
    assert set(progress.messages) == {"full; trying again"}


class Interrupted:
    """Gives one sample a batch and is interrupted while the storage hangs."""

    def __init__(self, end: BaseException, num_samples: int = 8) -> None:
        self._end, self._num_samples = end, num_samples

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[Sample]]:
        for index in range(self._num_samples):
            yield [toy_sample(index)]
        raise self._end

    def status(self) -> RunnerStatus:
        return RunnerStatus(num_alive=1)

    def close(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("end", [KeyboardInterrupt(), WorkerError("all died")])
def test_an_end_while_the_storage_hangs_stores_what_was_computed(
    store: Store, tmp_path: Path, before_writes: list[Write], end: BaseException
) -> None:
    before_writes.append(lambda: sleep(0.1))
    clock = iter(np.arange(0.0, 1e6, 3.0))
    expected = SearchStoppedError if isinstance(end, KeyboardInterrupt) else type(end)
    with pytest.raises(expected) as caught:
        collect(
            range(20),
            runner=Interrupted(end),
            store=store,
            progress=Quiet(),
            space=SPACE,
            config=EstimateConfig(num_samples=20),
            clock=lambda: float(next(clock)),
        )
    assert [index for part in parts(tmp_path) for index in part] == list(range(8))
    if expected is SearchStoppedError:
        assert "stopped with 8 of 20 samples stored" in str(caught.value)


def test_interrupts_at_any_moment_lose_nothing_that_was_added(store: Store, tmp_path: Path) -> None:
    """KeyboardInterrupt raised between any two lines of the recorder, in the caller's thread."""
    import sys

    added: list[int] = []
    with Recorder(store, Quiet(), Clock()) as recorder:
        for stop_at in range(1, 40):
            num_lines = 0

            def trace(frame: object, event: str, arg: object, stop_at: int = stop_at) -> object:
                nonlocal num_lines
                if getattr(frame, "f_code").co_filename != recorder_module.__file__:  # noqa: B009
                    return None
                if event == "line":
                    num_lines += 1
                    if num_lines == stop_at:
                        raise KeyboardInterrupt
                return trace

            sample, tracing = toy_sample(stop_at), sys.gettrace()
            sys.settrace(trace)  # type: ignore[arg-type]
            try:
                recorder.add([sample])
                sys.settrace(tracing)
                added.append(stop_at)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(tracing)
            recorder.flush()
    stored = [index for part in parts(tmp_path) for index in part]
    assert set(added) <= set(stored)
    assert len(stored) == len(set(stored))
