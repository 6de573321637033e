"""The searches a study needs: run, continued or replayed, on one Ray connection for all of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasi_ray.config import PATH, EstimateConfig, SampleConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.progress import Progress
from nasi_ray.records.rows import SampleTable, SearchRecords
from nasi_ray.run.compute import Session
from nasi_ray.search.many import search_many
from nasi_ray.search.result import SearchResult
from nasi_ray.search.settings import SearchJob
from nasi_ray.spaces import get_space
from nasi_ray.study.settings import MODES, Mode, StudySettings


def samples_of_mode(samples: SampleConfig, mode: Mode) -> SampleConfig:
    """Settings of the samples of a data mode.

    Args:
        samples: Base settings, with the data set that has the true labels.
        mode: The data mode; of random data nothing is augmented.

    Raises:
        ConfigError: If no data set is named and the mode needs one.
    """
    if mode == "random-data":
        return dataclasses.replace(samples, data="random", labels="random", augment="none")
    if samples.data == "random":
        raise ConfigError(
            f"data mode {mode} needs a data set, and none is named; add --data, as in "
            "--data CIFAR10"
        )
    return dataclasses.replace(samples, labels="true" if mode == "true" else "random")


def resolve_mode(mode: Mode | str, samples: SampleConfig) -> Mode:
    """Turn ``auto`` into what it stands for."""
    if mode == "auto":
        return "random-data" if samples.data == "random" else "true"
    if mode in ("true", "random-labels", "random-data"):
        return mode  # type: ignore[return-value]
    raise ConfigError(f"unknown data mode {mode!r}; choose true, random-labels or random-data")


@dataclass(frozen=True, kw_only=True, slots=True)
class Searches:
    """The searches of one kind: equal settings, a seed each."""

    samples: SampleConfig
    """All but the seed."""
    mode: Mode
    num_samples: int
    """Records needed of every seed."""


@dataclass(kw_only=True, slots=True)
class RunSource:
    """Records of searches, made when they are asked for."""

    settings: StudySettings
    session: Session
    runs: list[dict[str, Any]] = field(default_factory=list)
    """What ``result.json`` of a study says of every run used."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Run directory -> the search's own result."""
    _records: dict[tuple[str, bool], SearchRecords] = field(default_factory=dict)

    def plan(
        self, samples: SampleConfig, mode: Mode, estimates: Sequence[EstimateConfig]
    ) -> Searches:
        """Describe searches, and refuse at once what could not be run.

        Args:
            samples: All but the seed; ``data`` and ``labels`` are those of the mode.
            mode: The data mode.
            estimates: What the records are to answer.

        Raises:
            ConfigError: If a setting is not allowed.
        """
        get_space(samples.space).resolve_num_cells(samples.num_cells)
        return Searches(
            samples=samples_of_mode(samples, mode),
            mode=mode,
            num_samples=max(map(num_samples_needed, estimates)),
        )

    def tables(self, searches: Searches) -> list[SampleTable]:
        """The records of every seed, in the order of the settings' seeds.

        Raises:
            NasiRayError: Whatever ``run_search`` raises; what was computed is stored.
        """
        estimate = self.settings.estimate
        if not estimate.needs_gradient:
            raise ConfigError(
                f"objective is {estimate.objective}; this study needs the trace norm e and its "
                "gradient: give --objective trace-norm, or use the study `presets` or `cells`"
            )
        limits = [n for n in ("max_params", "max_madds") if getattr(estimate, n) is not None]
        if estimate.estimator != "straight-through" or limits:
            given = f"{limits[0]} is given" if limits else f"estimator is {estimate.estimator}"
            raise ConfigError(
                f"{given}; this study selects cells by the straight-through gradient without "
                "limits of size: leave it out, or use the study `presets` or `cells`"
            )
        found = [one.samples for one in self.records(searches, estimate)]
        return [table for table in found if table is not None]  # all, as the objective is of e

    def tables_of_all_modes(self, samples: SampleConfig) -> dict[Mode, list[SampleTable]]:
        """The records of every data mode and seed.

        Args:
            samples: As for ``plan``; random data have ``num_classes`` classes.

        Raises:
            ConfigError: If the data set has another number of classes.
            NasiRayError: As ``tables``.
        """
        plans = {mode: self.plan(samples, mode, [self.settings.estimate]) for mode in MODES}
        tables: dict[Mode, list[SampleTable]] = {}
        for mode, searches in plans.items():
            tables[mode] = self.tables(searches)
            first = self._job(searches, self.settings.estimate, self.settings.seeds[0])
            num_classes = self.results[first.run_uri]["samples"]["num_classes"]
            if num_classes != samples.num_classes:
                raise ConfigError(
                    f"{samples.data} has {num_classes} classes, and random data would have "
                    f"{samples.num_classes}; add --num-classes {num_classes}"
                )
        return tables

    def records(self, searches: Searches, estimate: EstimateConfig) -> list[SearchRecords]:
        """All records of every seed that an estimate reads, in the order of the settings' seeds.

        Raises:
            NasiRayError: As ``tables``.
        """
        jobs = {seed: self._job(searches, estimate, seed) for seed in self.settings.seeds}
        missing = {
            seed: job
            for seed, job in jobs.items()
            if _length(self._records.get(_place(job)), estimate) < searches.num_samples
        }
        found = search_many(
            list(missing.values()),
            self.session.progress,
            session=self.session,
            compute=self.settings.compute,
        )
        for number, (seed, job) in enumerate(missing.items()):
            if number in found.results:
                self._take(searches.mode, seed, job, found.results[number])
        for error in found.failures.values():
            raise error
        return [self._records[_place(job)] for job in jobs.values()]

    def _take(self, mode: Mode, seed: int, job: SearchJob, found: SearchResult) -> None:
        result = self.results[job.run_uri] = found.to_dict()
        self._records[_place(job)] = found.records
        self.runs.append(
            {
                "run": job.run_uri,
                "mode": mode,
                "seed": seed,
                "num_samples": result["num_samples"],
                "num_failed": result["num_failed"],
                "lost": result["lost"],
                "sample_seconds": result["sample_seconds"],
                "samples": result["samples"],
            }
        )

    def _job(self, searches: Searches, estimate: EstimateConfig, seed: int) -> SearchJob:
        settings = self.settings
        # Workers need not import what a study is.
        samples = SampleConfig(**{**dataclasses.asdict(searches.samples), "seed": seed})
        if samples.data != "random":
            # A data set brings its own classes; their number must not make other directories.
            samples = dataclasses.replace(samples, num_classes=SampleConfig().num_classes)
        job = SearchJob(
            config=settings.config,
            samples=samples,
            estimate=dataclasses.replace(estimate, num_samples=searches.num_samples),
            compute=settings.compute,
        )
        name = job.run_uri.removeprefix("runs/")
        out = f"{settings.out.rstrip('/')}/runs/{searches.mode}-{name}"
        return dataclasses.replace(job, out=out)


def _place(job: SearchJob) -> tuple[str, bool]:
    return job.run_uri, job.estimate.needs_gradient


def _length(records: SearchRecords | None, estimate: EstimateConfig) -> int:
    if records is None:
        return 0
    table = records.samples if estimate.needs_gradient else records.measurements[PATH]
    return 0 if table is None else len(table)


@contextlib.contextmanager
def run_source(settings: StudySettings, progress: Progress) -> Iterator[RunSource]:
    """Have records of searches; Ray is connected when the first sample has to be evaluated."""
    with Session(progress) as session:
        yield RunSource(settings=settings, session=session)
