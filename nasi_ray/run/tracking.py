"""Figures of trainings and searches for Weights & Biases and MLflow.

All is sent by the driver, from what is stored in run directories. Nothing a run computes depends on
it: a service that fails is left out from then on, and the same command sends what is missing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import tyro

from nasi_ray.display.formats import one_line
from nasi_ray.errors import ConfigError
from nasi_ray.progress import Progress, ProgressState
from nasi_ray.run.identity import digest_of
from nasi_ray.run.services import SERVICES, Point, Service
from nasi_ray.run.settings import flat_settings
from nasi_ray.storage import Storage

TRACKING = "tracking.json"
"""Which runs of the services a run directory belongs to, and what they have."""

_INTERVAL_S = 10.0
_MAX_REASON = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackConfig:
    """Send settings and metrics to other services too (docs/tracking.md)."""

    track: Annotated[
        tuple[Literal["wandb", "mlflow"], ...], tyro.conf.arg(metavar="wandb|mlflow [...]")
    ] = ()
    """Also send settings, metrics and the result to Weights & Biases or MLflow. Set these up by
    their own environment variables: WANDB_API_KEY, WANDB_MODE, MLFLOW_TRACKING_URI, ..."""
    project: str = "nasi_ray"
    """Project (W&B) or experiment (MLflow)."""

    def __post_init__(self) -> None:
        if not self.project.strip():
            raise ConfigError("project is empty; give --project a name, or leave it out")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """A training or search, as services show it."""

    storage: Storage
    """Its run directory."""
    settings: Mapping[str, Any]
    group: str = ""
    """What it is part of, such as a sweep; empty: nothing."""
    answer: str = "train"
    """Which of the answers of the run directory it is."""

    @property
    def name(self) -> str:
        """Of the run directory."""
        return self.storage.uri.rstrip("/").rpartition("/")[2]


@dataclass(kw_only=True, slots=True)
class _Known:
    """What a service has of a run."""

    run_id: str | None = None
    step: int = 0
    final: str | None = None
    """Digest of the summary; None: the run has not ended."""


@dataclass(kw_only=True, slots=True)
class _Book:
    """What is known of a run directory's runs at services; kept in ``tracking.json``."""

    storage: Storage
    entries: dict[str, _Known] = field(default_factory=dict)

    @classmethod
    def open(cls, storage: Storage) -> _Book:
        try:
            stored = json.loads(storage.read(TRACKING))
            entries = {key: _Known(**known) for key, known in stored.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            entries = {}
        return cls(storage=storage, entries=entries)

    def save(self) -> None:
        """Write it."""
        content = {
            key: {"run_id": known.run_id, "step": known.step, "final": known.final}
            for key, known in self.entries.items()
        }
        self.storage.write(TRACKING, f"{json.dumps(content, indent=2)}\n".encode())


class Tracking:
    """Sends figures to the services that a job names."""

    def __init__(self, config: TrackConfig, progress: Progress) -> None:
        """Nothing is sent yet.

        Args:
            config: Who is told.
            progress: Where a service that fails is named, once.

        Raises:
            ConfigError: If the package of a service is not installed.
        """
        for name in config.track:
            found = find_spec(name)
            # A folder of that name, as wandb makes one, is no package.
            if found is None or found.origin is None:
                raise ConfigError(
                    f"track is {name}, and the package {name} is not installed; pip install "
                    "'nasi_ray[track]', or leave --track out"
                )
        self._project, self._progress = config.project, progress
        self._live = list(dict.fromkeys(config.track))
        self._books: dict[str, _Book] = {}
        self._open: dict[tuple[str, str, str], Service] = {}

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def is_live(self) -> bool:
        """Whether anybody is told."""
        return bool(self._live)

    @property
    def is_open(self) -> bool:
        """Whether a run has been sent of that has not ended."""
        return bool(self._open)

    def send(
        self,
        run: Tracked,
        points: Sequence[Point],
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """Send what is new of a run.

        Args:
            run: It; opened at the service, or again, if it has not ended there as it is.
            points: All that was measured so far, by ascending steps.
            summary: Numbers and texts that end the run; None: it goes on.
        """
        for name in tuple(self._live):
            # Whatever another package raises must not end a training.
            try:
                self._send(name, run, points, summary)
            except Exception as error:
                self._leave_out(name, error)

    def close(self) -> None:
        """End what is still open, as stopped."""
        for key in list(self._open):
            try:
                self._open.pop(key).end(None)
            except Exception as error:
                self._leave_out(key[0], error)

    def following(self, send: Callable[[], None]) -> Progress:
        """The display, which also calls ``send`` every ten seconds while a job shows its state."""
        return Following(self._progress, send) if self._live else self._progress

    def _send(
        self, name: str, run: Tracked, points: Sequence[Point], summary: Mapping[str, Any] | None
    ) -> None:
        uri = run.storage.uri
        if uri not in self._books:
            self._books[uri] = _Book.open(run.storage)
        book = self._books[uri]
        place = digest_of({"place": SERVICES[name].place(self._project)})
        known = book.entries.setdefault(f"{run.answer}-{name}-{place}", _Known())
        final = None if summary is None else _digest(summary)
        has_all = all(step <= known.step for step, _ in points)
        if known.final is not None and has_all and final in (None, known.final):
            return
        key = (name, uri, run.answer)
        if key not in self._open:
            self._open[key] = self._opened(name, run, known)
            book.save()
        service = self._open[key]
        new = [(step, _finite(figures)) for step, figures in points if step > known.step]
        service.log(new)
        known.step = max([known.step, *(step for step, _ in new)])
        if summary is not None:
            measured = {name for _, figures in points for name in figures}
            service.end({k: v for k, v in summary.items() if k not in measured})
            known.final = final
            del self._open[key]
        if new or summary is not None:
            book.save()

    def _opened(self, name: str, run: Tracked, known: _Known) -> Service:
        service: Service = SERVICES[name](
            self._project, known.run_id, run.name, run.group, run.settings
        )
        # A run that is new there has nothing, whatever another one had.
        is_same = known.run_id == service.run_id
        if not is_same:
            known.step = 0
        # What was sent may not have arrived.
        elif (there := service.last_step) is not None:
            known.step = there
        known.run_id, known.final = service.run_id, None
        return service

    def _leave_out(self, name: str, error: Exception) -> None:
        if name not in self._live:
            return
        self._live.remove(name)
        for key in [key for key in self._open if key[0] == name]:
            del self._open[key]
        reason = one_line(str(error))[:_MAX_REASON] or type(error).__name__
        self._progress.message(
            f"nothing more is sent to {name}: {reason}; the run continues, and running the same "
            "command again sends what is missing"
        )


class Following:
    """A display that also has something done every ten seconds, the first time at once."""

    def __init__(
        self,
        progress: Progress,
        call: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress, self._call, self._clock = progress, call, clock
        self._next = clock()

    def update(self, state: ProgressState) -> None:
        """See ``Progress``."""
        self._progress.update(state)
        if self._clock() >= self._next:
            self._call()
            self._next = self._clock() + _INTERVAL_S

    def message(self, text: str) -> None:
        """See ``Progress``."""
        self._progress.message(text)

    def close(self) -> None:
        """See ``Progress``."""
        self._progress.close()


def tracked_settings(job: Any) -> dict[str, Any]:
    """The settings of a job that services show."""
    hidden = {"config", *flat_settings(TrackConfig())}
    return {name: value for name, value in flat_settings(job).items() if name not in hidden}


def _digest(summary: Mapping[str, Any]) -> str:
    # How long the last command took is no reason to send a run again.
    return digest_of({k: v for k, v in summary.items() if k != "seconds"})


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def summary_of(content: Mapping[str, Any], *, but: Collection[str] = ()) -> dict[str, Any]:
    """The numbers and texts of a result; not what is nested, and not the names in ``but``."""
    return {
        name: value
        for name, value in content.items()
        if name not in but
        and (isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)))
    }
