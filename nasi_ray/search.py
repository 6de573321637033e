"""A search: missing samples -> runner -> records, and records -> α* and the cell.

No Ray and no files here: the runner and the store are handed in.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError, SearchStoppedError, StorageError
from nasi_ray.nasi.estimator import estimate, kept_margins, margins, num_samples_needed
from nasi_ray.progress import Progress, ProgressState
from nasi_ray.records import Sample, SampleTable
from nasi_ray.runner import Runner
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.result import architecture_fields
from nasi_ray.store import RecordStore, RecordWriter

RESULT_SCHEMA = "nasi_ray.search/1"

_DISPLAY_INTERVAL_S = 0.5
_DISPLAY_SHARE = 0.01
_RATE_WINDOW_S = 30.0
_STORAGE_PATIENCE_S = 60.0
_MAX_WAITING = 100_000
_MAX_TOLD = 5
_HOPELESS = 20
_MAX_SHOWN = 20_000


def collect(
    indices: Sequence[int],
    *,
    runner: Runner[Sample],
    store: RecordStore,
    progress: Progress,
    space: SearchSpace,
    config: EstimateConfig,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Evaluate samples and store every one; on return they are durable.

    Args:
        indices: The samples to evaluate; those of ``config.num_samples`` that are not among them
            are in the store already.
        runner: Who evaluates.
        store: Where samples go.
        progress: Told of the state about twice a second.
        space: The search space.
        config: Settings of the estimate that the progress display shows.
        clock: Seconds that never go back.

    Raises:
        SearchStoppedError: On KeyboardInterrupt, after what was computed has been stored.
        StorageError: If storing keeps failing for a minute; says how many samples wait.
        NasiRayError: What the runner raised, or if the first 20 samples are all bad; what was
            computed has been stored.
    """
    stored = store.read().below(num_samples_needed(config))
    board = _Board(stored, indices, space, config, clock)
    writer = RecordWriter(store, clock=clock)
    patience = _Patience(writer, progress, clock)
    failures = _Failures(progress)
    try:
        for batch in runner.run(indices):
            with patience.on_storage():
                writer.add(batch)
            board.add(batch)
            failures.tell(batch)
            if board.is_due:
                progress.update(board.state(runner))
        patience.flush()
        progress.update(board.state(runner))
    except StorageError:
        raise
    except BaseException as error:
        patience.flush(attempts=2)
        if not isinstance(error, KeyboardInterrupt):
            raise
        num = f"{board.num_done} of {board.num_total} samples stored"
        progress.message(f"stopping, {num}")
        raise SearchStoppedError(
            f"stopped with {num}; the same command continues from them"
        ) from None


def summarise(table: SampleTable, *, space: SearchSpace, config: EstimateConfig) -> dict[str, Any]:
    """What the samples say: the parts of ``result.json`` that follow from them alone.

    Args:
        table: Samples; of index ≥ ``config.num_samples`` only ν = auto may use some.
        space: The search space.
        config: Settings of the estimate.

    Returns:
        ``alpha``, ``margins``, ``margin_errors``, ``kept_margins``, ``kept_margin_errors``
        (decision -> number or list), ``nu`` (a number, or one per good sample for ADA), what names
        the architecture (``genotype``, or ``architecture`` and ``hash``), ``trace_norm`` (mean,
        std, min, max), counts and the settings used. JSON-ready; a standard error that is not
        defined is None.

    Raises:
        NasiRayError: If no sample is good.
    """
    result = estimate(table, config)
    by_decision = space.split(result.alpha)
    found, kept = margins(result, space), kept_margins(result, space)
    used = table.below(config.num_samples)
    e = used.trace_norm[used.ok]
    return {
        "method": config.method,
        "nu": float(result.nu[0]) if config.method == "fix" else result.nu.tolist(),
        "mu": config.mu,
        "xi": config.xi,
        "pairing": config.pairing,
        "norm_epsilon": config.norm_epsilon,
        "num_samples": len(used),
        "num_failed": int((~used.ok).sum()),
        "failed": {str(i): why for i, why in sorted(used.errors.items())},
        "alpha": {name: logits.tolist() for name, logits in by_decision.items()},
        "margins": {name: margin.value for name, margin in found.items()},
        "margin_errors": {name: _known(m.standard_error) for name, m in found.items()},
        "kept_margins": {name: margin.value for name, margin in kept.items()},
        "kept_margin_errors": {name: _known(m.standard_error) for name, m in kept.items()},
        **architecture_fields(space.select(by_decision, pairing=config.pairing)),
        "trace_norm": {
            "mean": float(e.mean()),
            "std": float(e.std()),
            "min": float(e.min()),
            "max": float(e.max()),
        },
        "sample_seconds": float(used.seconds.sum()),
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


class _Board:
    """The samples so far, and what a progress display shows of them.

    Gradients are kept of the first ``_MAX_SHOWN`` indices only: the smallest margin that is shown
    comes from those, so that neither memory nor time grows with a search of millions.
    """

    def __init__(
        self,
        stored: SampleTable,
        indices: Sequence[int],
        space: SearchSpace,
        config: EstimateConfig,
        clock: Callable[[], float],
    ) -> None:
        self._space, self._config, self._clock = space, config, clock
        rows = np.union1d(stored.index, np.asarray(indices, dtype=np.int64))
        self._index = rows
        self._done = np.isin(rows, stored.index)
        self._num_done = int(self._done.sum())
        self._ok = np.zeros(len(rows), dtype=np.bool_)
        self._trace_norm = np.full(len(rows), np.nan)
        self._grad = np.full((min(len(rows), _MAX_SHOWN), space.num_logits), np.nan)
        self._ok[self._done] = stored.ok
        self._trace_norm[self._done] = stored.trace_norm
        shown = self._done[:_MAX_SHOWN]
        self._grad[shown] = stored.grad[: int(shown.sum())]
        self._arrivals: deque[tuple[float, int]] = deque([(clock(), self.num_done)])
        self._next_display = clock()

    @property
    def num_done(self) -> int:
        return self._num_done

    @property
    def num_total(self) -> int:
        return len(self._index)

    @property
    def is_due(self) -> bool:
        return self._clock() >= self._next_display

    def add(self, batch: Sequence[Sample]) -> None:
        for sample in batch:
            row = int(self._index.searchsorted(sample.index))
            self._num_done += not self._done[row]
            self._done[row] = True
            self._ok[row] = sample.status == "ok"
            self._trace_norm[row] = sample.trace_norm
            if row < len(self._grad):
                self._grad[row] = sample.grad

    def state(self, runner: Runner[Sample]) -> ProgressState:
        start = self._clock()
        rate = self._rate(start)
        left = self.num_total - self.num_done
        e = self._trace_norm[self._ok]
        workers = runner.status()
        state = ProgressState(
            num_done=self.num_done,
            num_total=self.num_total,
            num_failed=int((self._done & ~self._ok).sum()),
            samples_per_s=rate,
            eta_s=left / rate if rate else None,
            num_workers=workers.num_alive,
            num_worker_deaths=workers.num_deaths,
            mean_trace_norm=float(e.mean()) if len(e) else None,
            smallest_margin=self._smallest_margin(),
        )
        # A long history makes the estimate slow; showing it must not take a noticeable share.
        now = self._clock()
        self._next_display = now + max(_DISPLAY_INTERVAL_S, (now - start) / _DISPLAY_SHARE)
        return state

    def _rate(self, now: float) -> float | None:
        self._arrivals.append((now, self.num_done))
        while len(self._arrivals) > 2 and now - self._arrivals[0][0] > _RATE_WINDOW_S:
            self._arrivals.popleft()
        since, before = self._arrivals[0]
        return (self.num_done - before) / (now - since) if self.num_done > before else None

    def _smallest_margin(self) -> tuple[str, float, float] | None:
        shown = np.flatnonzero(self._done[:_MAX_SHOWN])
        table = SampleTable(
            index=self._index[shown],
            ok=self._ok[shown],
            trace_norm=self._trace_norm[shown],
            grad=self._grad[shown],
            seconds=np.zeros(len(shown)),
        )
        try:
            found = margins(estimate(table, self._config), self._space)
        except NasiRayError:
            return None
        name = min(found, key=lambda name: found[name].value)
        return name, found[name].value, found[name].standard_error


class _Failures:
    """Tells of samples that failed, the first ones by name, and ends a run in which all do."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._num_failed = 0
        self._num_ok = 0

    def tell(self, batch: Sequence[Sample]) -> None:
        """Take a batch into account.

        Raises:
            NasiRayError: If the first samples of the run were all bad.
        """
        for sample in batch:
            if sample.status == "ok":
                self._num_ok += 1
                continue
            self._num_failed += 1
            if self._num_failed <= _MAX_TOLD:
                self._progress.message(f"sample {sample.index} {sample.status}: {sample.error}")
            elif self._num_failed == _MAX_TOLD + 1:
                self._progress.message("more samples failed; result.json names them all")
            if not self._num_ok and self._num_failed >= _HOPELESS:
                raise NasiRayError(
                    f"the first {self._num_failed} samples all failed, the last one: "
                    f"{sample.error}; change the settings that cause it"
                )


class _Patience:
    """Lets storage fail for a while: samples wait in memory, and nothing is lost if it recovers."""

    def __init__(
        self, writer: RecordWriter, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self._writer, self._progress, self._clock = writer, progress, clock
        self._failing_since: float | None = None

    @contextlib.contextmanager
    def on_storage(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            now = self._clock()
            if self._failing_since is None:
                self._failing_since = now
                self._progress.message(f"{error}; trying again")
            if (
                now - self._failing_since > _STORAGE_PATIENCE_S
                or self._writer.num_waiting > _MAX_WAITING
            ):
                raise self._lost(error) from error
        else:
            if not self._writer.num_waiting:
                self._failing_since = None

    def flush(self, attempts: int = 6) -> None:
        """Store what waits, trying again with growing pauses (16 s in all for six attempts)."""
        for attempt in range(attempts):
            try:
                return self._writer.flush()
            except StorageError as error:
                if attempt == attempts - 1:
                    raise self._lost(error) from error
                self._progress.message(f"{error}; trying again")
                time.sleep(2**attempt / 2)

    def _lost(self, error: StorageError) -> StorageError:
        return StorageError(
            f"{error}; {self._writer.num_waiting} evaluated samples are in memory only and will "
            "be evaluated again by the same command once the storage works"
        )
