"""The settings of a sweep and its command line. Quick to import."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig, get_preset
from nasi_ray.errors import ConfigError
from nasi_ray.run.identity import digest_of, sample_settings, source_name
from nasi_ray.run.settings import (
    ConfigFile,
    flat_settings,
    parse_job,
    with_settings,
)
from nasi_ray.run.tracking import TrackConfig
from nasi_ray.search.settings import FinalistConfig, SearchJob, auto_preset, check, default_job

_MAX_SEARCHES = 100_000
_FIXED = {
    "seed": "give --seeds",
    "space": "run a sweep for each space",
    "data": "run a sweep for each data set",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSamples(SampleConfig):
    """What is sampled; --seeds gives the seeds."""

    seed: tyro.conf.Suppress[int] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepCompute(ComputeSettings):
    """Where the searches run."""

    workers_per_search: int = 1
    """Workers of each search, which are scheduled together. --num-workers is the number of all of
    them, so it says how many searches run side by side; 0: this process, one after the other."""

    def __post_init__(self) -> None:
        super(SweepCompute, self).__post_init__()
        if self.workers_per_search < 1:
            raise ConfigError(
                f"workers_per_search is {self.workers_per_search}; allowed: at least 1"
            )
        if isinstance(self.num_workers, int) and 0 < self.num_workers < self.workers_per_search:
            raise ConfigError(
                f"num_workers is {self.num_workers}, fewer than the {self.workers_per_search} of "
                "one search; raise it, or lower --workers-per-search"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepJob:
    """Search with many seeds and settings, side by side, and find the cell they agree on."""

    config: ConfigFile = None
    preset: str = "auto"
    """A named set of settings, as for a search; flags override them. auto: where --set limits the
    size, nasi-balanced."""
    seeds: Annotated[tuple[int | str, ...], tyro.conf.arg(metavar="SEED|FIRST:END [...]")] = (
        "0:5",
    )
    """Root seeds; each is a search of its own. 0:10 stands for 0 to 9."""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE,VALUE,...")
    ] = ()
    """NAME=VALUE,VALUE,... of a setting of the samples or the estimate. Give it several times to
    search all combinations. Combinations that differ only in the estimate share their samples."""
    samples: SweepSamples = field(default_factory=SweepSamples)
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    stop_when_stable: float | None = None
    """As for a search: each search ends early if every decision stands with at least this
    probability."""
    compute: SweepCompute = field(default_factory=SweepCompute)
    final: FinalistConfig = field(default_factory=FinalistConfig)
    """Finalists of a sweep: the cells with the best mean score over the seeds."""
    tracking: TrackConfig = field(default_factory=TrackConfig)
    report: bool = True
    """At the end, write a page about the run: report.html in the run directory (docs/report.md).
    The Python functions write none."""
    out: str = ""
    """Run directory, a path or s3://bucket/prefix; empty: runs/sweep-<named after the settings>."""

    @property
    def run_uri(self) -> str:
        """``out``, or a default that the settings determine."""
        settings = sample_settings(self.samples) | {"data": source_name(self.samples.data)}
        return self.out or f"runs/sweep-{self.samples.space}-{digest_of(settings)}"


def plain_compute(job: SweepJob) -> ComputeSettings:
    """Where the searches evaluate, as each of them has it."""
    names = [field.name for field in dataclasses.fields(ComputeSettings)]
    return ComputeSettings(**{name: getattr(job.compute, name) for name in names})


def make_sweep_job(settings: Mapping[str, Any], *, where: str = "sweep") -> SweepJob:
    """A sweep with these settings; precedence: default < preset < settings.

    Args:
        settings: Name -> value; names are those of the options, with underscores.
        where: Where the settings were given, for messages.

    Raises:
        ConfigError: If a name or value is not allowed.
        UnknownNameError: If the preset or space is not known.
    """
    job = with_settings(_default(settings), settings, where=where)
    combinations(job)
    return job


def parse_sweep(argv: Sequence[str]) -> SweepJob:
    """Read the sweep's command line; precedence: default < preset < ``--config`` < flag.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    deciding = ("preset", "space", "max_params", "max_madds", "objective", "estimator")
    job = parse_job(argv, "sweep", _default, *deciding)
    combinations(job)
    return job


def seeds_of(job: SweepJob) -> tuple[int, ...]:
    """The seeds, each once, in the order given.

    Raises:
        ConfigError: If there is none, or one is malformed.
    """
    found: list[int] = []
    for text in job.seeds:
        match = re.fullmatch(r"(\d{1,18})(?::(\d{1,18}))?", str(text))
        first, end = (int(match[1]), int(match[2] or int(match[1]) + 1)) if match else (0, 0)
        if first >= end:
            raise ConfigError(
                f"seeds has {text!r}; give numbers from 0 on, of at most 18 digits, or FIRST:END "
                "such as 0:10 (0 to 9)"
            )
        if end - first > _MAX_SEARCHES:
            raise ConfigError(
                f"seeds has {text!r}, which is {end - first} seeds; at most {_MAX_SEARCHES} "
                "searches are allowed: give fewer"
            )
        found += range(first, end)
    if not found:
        raise ConfigError("no seed was given; add some, as in --seeds 0:10")
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination:
    """Settings of some searches that differ in their seeds alone."""

    changed: Mapping[str, Any]
    """Name -> value of the settings that ``--set`` gives; empty without it."""
    jobs: tuple[SearchJob, ...]
    """A search for each seed."""


def combinations(job: SweepJob) -> list[Combination]:
    """All combinations of the values of ``--set``, the last one changing fastest.

    Raises:
        ConfigError: If a name or value is not allowed, or there are too many searches.
    """
    samples = SampleConfig(**dataclasses.asdict(job.samples))
    base = SearchJob(
        config=job.config,
        preset=job.preset,
        samples=samples,
        estimate=job.estimate,
        stop_when_stable=job.stop_when_stable,
        compute=plain_compute(job),
    )
    grid = dict(map(_parsed, job.set))
    if len(grid) < len(job.set):
        raise ConfigError(
            f"--set names a setting twice: {' '.join(job.set)}; give all its values in one "
            "NAME=VALUE,VALUE"
        )
    seeds = seeds_of(job)
    points = list(itertools.product(*grid.values()))
    if job.final.finalists and len(points) > 1:
        raise ConfigError(
            f"--set makes {len(points)} combinations, but finalists need a single one; run a "
            "sweep for each, or leave --finalists out"
        )
    if len(points) * len(seeds) > _MAX_SEARCHES:
        raise ConfigError(
            f"{len(points)} combinations of {len(seeds)} seeds are {len(points) * len(seeds)} "
            f"searches; at most {_MAX_SEARCHES} are allowed: give fewer"
        )
    found = []
    for point in points:
        changed = dict(zip(grid, point, strict=True))
        one = with_settings(_of_point(base, changed), changed, where="--set")
        jobs = tuple(_with_seed(one, seed, job.run_uri) for seed in seeds)
        check(jobs[0])
        values = flat_settings(one)
        found.append(Combination(changed={name: values[name] for name in grid}, jobs=jobs))
    return found


def only_search(job: SweepJob) -> SearchJob:
    """What the searches of the first combination have in common, with the sweep's own seed.

    Finalists are those of a single combination.

    Raises:
        ConfigError: As ``combinations``.
    """
    one = combinations(job)[0].jobs[0]
    return dataclasses.replace(one, samples=dataclasses.replace(one.samples, seed=job.samples.seed))


def _of_point(base: SearchJob, changed: Mapping[str, Any]) -> SearchJob:
    """With the preset auto: the settings that it has where ``--set`` limits the size, or does not.

    What differs from the preset stays as it was given.
    """
    if base.preset not in (None, "auto"):
        return base
    limits = ("max_params", "max_madds")
    had = any(getattr(base.estimate, name) is not None for name in limits)
    has = any(changed.get(name, getattr(base.estimate, name)) is not None for name in limits)
    before, now = (
        get_preset(auto_preset(base.samples.space, has_budget=is_limited)).estimate
        for is_limited in (had, has)
    )
    usual = {
        field.name: getattr(now, field.name)
        for field in dataclasses.fields(now)
        if field.name not in limits
        and getattr(base.estimate, field.name) == getattr(before, field.name)
    }
    return dataclasses.replace(base, estimate=dataclasses.replace(base.estimate, **usual))


def _with_seed(job: SearchJob, seed: int, uri: str) -> SearchJob:
    job = dataclasses.replace(job, samples=dataclasses.replace(job.samples, seed=seed))
    # Named after what determines the samples, so that estimates share them.
    name = job.run_uri.removeprefix("runs/")
    return dataclasses.replace(job, out=f"{uri.rstrip('/')}/runs/{name}")


def _parsed(text: str) -> tuple[str, list[Any]]:
    name, sign, values = text.partition("=")
    name = name.strip().replace("-", "_")
    allowed = [*flat_settings(SampleConfig()), *flat_settings(EstimateConfig())]
    if name in _FIXED:
        raise ConfigError(f"--set cannot change {name}; {_FIXED[name]}")
    given = [value.strip() for value in values.split(",")]
    if name not in allowed or not sign or not all(given):
        raise ConfigError(
            f"--set has {text!r}; give NAME=VALUE,VALUE,... with a setting of the samples or the "
            f"estimate: {', '.join(n for n in allowed if n not in _FIXED)}"
        )
    if len(set(given)) < len(given):
        raise ConfigError(f"--set {text} has a value twice; give each once")
    return name, [None if value.lower() == "none" else value for value in given]


def _default(settings: Mapping[str, Any]) -> SweepJob:
    found = default_job(settings)
    samples, preset = SweepSamples(**dataclasses.asdict(found.samples)), found.preset
    given = (settings.get(name) for name in ("objective", "estimator"))
    if preset == "auto" and any(value is not None for value in given):
        # What is given holds for all combinations, whatever their limits.
        has_budget = any(settings.get(name) is not None for name in ("max_params", "max_madds"))
        preset = auto_preset(found.samples.space, has_budget=has_budget)
    return SweepJob(preset=preset, samples=samples, estimate=found.estimate)
