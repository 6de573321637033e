from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import SearchStoppedError, StorageError, WorkerError
from nasi_ray.nasi import estimator
from nasi_ray.nasi.estimator import Estimate, estimate
from nasi_ray.records import RecordStore, SampleRows
from nasi_ray.records.rows import Sample, SampleTable, SearchRecords
from nasi_ray.runner import InProcessRunner, RunnerStatus
from nasi_ray.search import tracker as search_tracker
from nasi_ray.search.collect import collect
from nasi_ray.search.result import describe_alpha, make_result
from nasi_ray.search.tracker import SampleProgress
from nasi_ray.storage import LocalStorage
from tests.toy import SPACE, Quiet, toy_sample


def open_store(path: Path) -> RecordStore[Sample, SampleTable]:
    return RecordStore.open(LocalStorage(str(path)), identity={"toy": 1}, rows=SampleRows(84))


class ScriptedRunner:
    """Yields given batches, then raises what it was given."""

    def __init__(
        self, batches: Sequence[Sequence[Sample]], end: BaseException | None = None
    ) -> None:
        self._batches, self._end = batches, end

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[Sample]]:
        yield from self._batches
        if self._end is not None:
            raise self._end

    def status(self) -> RunnerStatus:
        return RunnerStatus(num_alive=1)

    def close(self) -> None:
        """Nothing to do."""


def run(
    store: RecordStore[Sample, SampleTable], indices: Sequence[int], runner: object, progress: Quiet
) -> None:
    collect(
        indices,
        runner=runner,  # type: ignore[arg-type]
        store=store,
        progress=progress,
        space=SPACE,
        config=EstimateConfig(num_samples=20),
    )


def result_of(table: SampleTable, config: EstimateConfig) -> dict[str, Any]:
    """The content of ``result.json``."""
    records = SearchRecords(samples=table)
    made = make_result(
        records, space=SPACE, config=config, uri="", identity={"seed": 0}, lost=[], run={}
    )
    return made.to_dict()


def test_collected_samples_are_stored_and_shown(tmp_path: Path) -> None:
    store, progress = open_store(tmp_path), Quiet()
    run(store, range(20), InProcessRunner(toy_sample), progress)
    assert store.read().index.tolist() == list(range(20))
    last = progress.states[-1]
    assert (last.num_done, last.num_total, last.num_failed) == (20, 20, 0)
    e = [toy_sample(i).trace_norm for i in range(20)]
    assert last.mean_trace_norm == pytest.approx(np.mean(e))
    summary = describe_alpha(estimate(store.read(), EstimateConfig(num_samples=20)), SPACE)
    assert last.smallest_margin is not None
    name, value, _ = last.smallest_margin
    assert value == min(summary["margins"].values())
    assert summary["margins"][name] == value


def test_progress_draws_no_samples_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a bootstrap for a figure of the progress")

    monkeypatch.setattr(estimator, "outcomes", refuse)
    progress = Quiet()
    run(open_store(tmp_path), range(20), InProcessRunner(toy_sample), progress)
    assert progress.states[-1].smallest_margin is not None


def test_order_of_arrival_changes_nothing(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(20)
    shuffled = open_store(tmp_path / "a")
    run(shuffled, range(20), ScriptedRunner([[toy_sample(i)] for i in order]), Quiet())
    config = EstimateConfig(num_samples=20, method="ada", nu=30.0)
    serial = SampleTable.from_samples(map(toy_sample, range(20)), 84)
    assert describe_alpha(estimate(shuffled.read(), config), SPACE) == describe_alpha(
        estimate(serial, config), SPACE
    )


@pytest.mark.parametrize("end", [KeyboardInterrupt(), WorkerError("all died")])
def test_what_was_computed_is_stored_when_the_run_ends_early(
    tmp_path: Path, end: BaseException
) -> None:
    store = open_store(tmp_path)
    runner = ScriptedRunner([[toy_sample(0), toy_sample(1)], [toy_sample(5)]], end)
    expected = SearchStoppedError if isinstance(end, KeyboardInterrupt) else type(end)
    with pytest.raises(expected) as caught:
        run(store, range(20), runner, Quiet())
    assert store.read().index.tolist() == [0, 1, 5]
    if expected is SearchStoppedError:
        assert str(caught.value) == (
            "stopped with 3 of 20 samples stored; run the same command again to continue from there"
        )


def test_failed_samples_are_told_at_once_and_left_out(tmp_path: Path) -> None:
    failed = Sample(
        index=3,
        status="failed",
        trace_norm=float("nan"),
        grad=np.full(84, np.nan),
        choices=np.array([], dtype=np.int64),
        error="trace norm inf",
    )
    store, progress = open_store(tmp_path), Quiet()
    run(
        store,
        range(5),
        InProcessRunner(lambda i: failed if i == 3 else toy_sample(i)),
        progress,
    )
    assert progress.messages == ["sample 3 failed: trace norm inf"]
    summary = result_of(store.read(), EstimateConfig(num_samples=5))
    assert summary["num_failed"] == 1
    assert summary["failed"] == {"3": "trace norm inf"}
    good = SampleTable.from_samples(
        [renumbered(toy_sample(i), j) for j, i in enumerate([0, 1, 2, 4])], 84
    )
    assert (
        summary["alpha"]
        == describe_alpha(estimate(good, EstimateConfig(num_samples=4)), SPACE)["alpha"]
    )


def renumbered(sample: Sample, index: int) -> Sample:
    return Sample(
        index=index,
        status=sample.status,
        trace_norm=sample.trace_norm,
        grad=sample.grad,
        choices=sample.choices,
    )


def failing_storage(monkeypatch: pytest.MonkeyPatch, is_broken: Callable[[], bool]) -> None:
    create = LocalStorage.create

    def maybe(self: LocalStorage, name: str, data: bytes) -> bool:
        if name.startswith("samples/") and is_broken():
            raise StorageError("disk full")
        return create(self, name, data)

    monkeypatch.setattr(LocalStorage, "create", maybe)
    monkeypatch.setattr("nasi_ray.run.recorder.time.sleep", lambda seconds: None)


def test_storage_that_recovers_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, progress = open_store(tmp_path), Quiet()
    calls = iter([True, True])
    failing_storage(monkeypatch, lambda: next(calls, False))
    run(store, range(4), InProcessRunner(toy_sample), progress)
    assert store.read().index.tolist() == [0, 1, 2, 3]
    assert "disk full; trying again" in progress.messages


def test_storage_that_stays_broken_says_how_many_samples_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    failing_storage(monkeypatch, lambda: True)
    with pytest.raises(StorageError, match=r"^disk full; 4 evaluated samples were not stored"):
        run(store, range(4), InProcessRunner(toy_sample), Quiet())
    monkeypatch.undo()
    assert len(store.read()) == 0


def test_progress_counts_what_the_records_hold(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    run(store, range(7), InProcessRunner(toy_sample), Quiet())
    progress = Quiet()
    run(store, range(7, 20), InProcessRunner(toy_sample), progress)
    assert progress.states[-1].num_done == 20
    assert all(state.num_total == 20 for state in progress.states)


def test_a_summary_names_every_decision_and_fits_its_genotype() -> None:
    table = SampleTable.from_samples(map(toy_sample, range(30)), 84)
    summary = result_of(table, EstimateConfig(num_samples=30, nu="auto"))
    names = [decision.name for decision in SPACE.decisions]
    assert list(summary["alpha"]) == list(summary["margins"]) == names
    ops = summary["alpha"]["normal/node0/op"]
    best = SPACE.decisions[0].candidates[int(np.argmax(ops))]
    assert summary["genotype"]["normal"][0][0] == best
    assert summary["nu"] == pytest.approx(np.mean(table.trace_norm))


def test_a_search_larger_than_the_display_shows_counts_every_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_tracker, "_MAX_SHOWN", 8)
    store = open_store(tmp_path)
    # Of the first eight, two are stored already; so is one beyond them.
    store.append([toy_sample(i) for i in (0, 5, 15)])
    progress = Quiet()
    missing = [i for i in range(20) if i not in (0, 5, 15)]
    run(store, missing, InProcessRunner(toy_sample), progress)
    last = progress.states[-1]
    assert (last.num_done, last.num_total, last.num_failed) == (20, 20, 0)
    assert last.mean_trace_norm == pytest.approx(
        np.mean([toy_sample(i).trace_norm for i in range(20)])
    )
    first = SampleTable.from_samples(map(toy_sample, range(8)), 84)
    margins = describe_alpha(estimate(first, EstimateConfig(num_samples=20)), SPACE)["margins"]
    assert last.smallest_margin is not None
    assert last.smallest_margin[1] == min(margins.values())
    assert store.read().index.tolist() == list(range(20))


def test_the_margin_shown_is_made_anew_as_samples_grow_not_as_time_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def counted(table: SampleTable, config: EstimateConfig) -> Estimate:
        made.append(len(table))
        return estimate(table, config)

    monkeypatch.setattr(search_tracker, "estimate", counted)
    nothing = SampleTable.from_samples([], 84)
    config = EstimateConfig(num_samples=300)
    clock = itertools.count()
    tracker = SampleProgress(nothing, range(300), SPACE, config, lambda: float(next(clock)))
    for index in range(300):
        tracker.add([toy_sample(index)])
        for _ in range(5):
            shown = tracker.state(RunnerStatus(num_alive=1))
    assert shown.num_done == 300
    assert len([n for n in set(made) if n < 300]) < 80
    assert all(b <= 1.1 * a + 1 for a, b in itertools.pairwise(sorted(set(made))))
    assert len([n for n in made if n < 300]) == len({n for n in made if n < 300})
    assert shown.mean_trace_norm == pytest.approx(
        np.mean([toy_sample(i).trace_norm for i in range(300)]), rel=1e-12
    )
    table = SampleTable.from_samples(map(toy_sample, range(300)), 84)
    summary = describe_alpha(estimate(table, config), SPACE)
    assert shown.smallest_margin is not None
    assert shown.smallest_margin[1] == min(summary["margins"].values())
