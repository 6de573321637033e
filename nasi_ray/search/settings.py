"""The settings of a search and its command line. Quick to import."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from nasi_ray.config import (
    GRADIENT_ESTIMATORS,
    PRESETS,
    ComputeSettings,
    EstimateConfig,
    SampleConfig,
    default_preset,
    get_preset,
)
from nasi_ray.data.labels import resolve_labels
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.run.identity import digest_of, sample_settings, source_name
from nasi_ray.run.settings import (
    ConfigFile,
    changed_from,
    compute_options_without_effect,
    data_options_without_effect,
    flat_settings,
    parse_job,
    with_settings,
    written_by_a_run,
)
from nasi_ray.run.tracking import TrackConfig
from nasi_ray.search.names import series_of
from nasi_ray.spaces import get_space
from nasi_ray.spaces.options import costs_of

MAX_FINALISTS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalistConfig:
    """Whether the best cells are compared by validation accuracy (docs/finalists.md)."""

    finalists: int = 0
    """Compare this many of the best cells by validation accuracy, and answer with the best of them;
    0: the answer is the best by the search's own score."""
    finalists_table: Annotated[str, tyro.conf.arg(metavar="FILE|DIR")] = ""
    """Look their validation accuracies up in this table of accuracies; empty: train them, on the
    search's data, and test on a part of the training images that is held out."""
    finalists_metric: str = ""
    """Column of that table; empty: validation accuracy on CIFAR-10 after the shortest schedule."""
    finalists_recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = "quick"
    """Recipe of `nasi-ray train` to train them by."""

    def __post_init__(self) -> None:
        if not (self.finalists == 0 or 2 <= self.finalists <= MAX_FINALISTS):
            raise ConfigError(
                f"finalists is {self.finalists}; give 2 to {MAX_FINALISTS} cells to compare, or 0 "
                "for the search's own answer"
            )
        for name in ("finalists_table", "finalists_metric"):
            if getattr(self, name) and not self.finalists:
                raise ConfigError(f"{name} is given without finalists; add --finalists 8")
        if self.finalists_metric and not self.finalists_table:
            raise ConfigError(
                "finalists_metric is given without a table; add --finalists-table, or leave it out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchJob:
    """Search a cell at initialization, without training."""

    config: ConfigFile = None
    preset: Annotated[str, tyro.conf.arg(metavar="{auto," + ",".join(PRESETS) + "}")] = "auto"
    """A named set of settings; flags override them. auto: nasi-expressive for darts;
    for the other spaces nasi-panel, or nasi-balanced if the network's size is limited;
    nasi-relative for a space without a method `costs`."""
    measure: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ()
    """What to record for every sample in addition to what the estimate needs: proxies, or
    measurements (docs/selection.md); a later run can add more to the same samples."""
    samples: SampleConfig = field(default_factory=SampleConfig)
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    stop_when_stable: float | None = None
    """End with fewer samples than num_samples if every decision stands with at least this
    probability, such as 0.95. This is checked only at 50, 71, 100, 141, ... samples, so the end
    does not depend on the number of workers; samples beyond it are not used."""
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    final: FinalistConfig = field(default_factory=FinalistConfig)
    tracking: TrackConfig = field(default_factory=TrackConfig)
    then_train: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """Train the cell that is found (with --finalists, the best of them), by this recipe of
    `nasi-ray train` and on the same data, into the folder train of the run directory."""
    report: bool = True
    """At the end, write a page about the run: report.html in the run directory (docs/report.md).
    The Python functions write none."""
    out: str = ""
    """Run directory, a path or s3://bucket/prefix; empty: runs/<named after the settings>."""

    @property
    def run_uri(self) -> str:
        """``out``, or the default that the sample settings determine."""
        if self.out:
            return self.out
        settings = sample_settings(self.samples)
        settings["data"] = source_name(self.samples.data)
        settings["threads_per_worker"] = self.compute.threads_per_worker
        return f"runs/{self.samples.space}-seed{self.samples.seed}-{digest_of(settings)}"


def make_search_job(settings: Mapping[str, Any], *, where: str = "search") -> SearchJob:
    """A search with these settings; precedence: default < preset < settings.

    Args:
        settings: Name -> value; names are those of the options, with underscores.
        where: Where the settings were given, for messages.

    Raises:
        ConfigError: If a name or value is not allowed.
        UnknownNameError: If the preset or space is not known.
    """
    job = with_settings(default_job(settings), settings, where=where)
    check(job)
    return job


def parse_search(argv: Sequence[str]) -> SearchJob:
    """Read the search job's command line; precedence: default < preset < ``--config`` < flag.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    job = parse_job(argv, "search", default_job, "preset", "space", "max_params", "max_madds")
    check(job)
    return job


def check(job: SearchJob) -> None:
    """Refuse unknown names, and settings that contradict each other.

    Raises:
        ConfigError: If settings contradict each other, or one is not allowed for the space.
        UnknownNameError: If the space or pairing is not known.
    """
    space = get_space(job.samples.space)
    space.resolve_num_cells(job.samples.num_cells)
    resolve_labels(job.samples.labels, job.samples.data)
    series_of(job.estimate, job.measure)
    stop = job.stop_when_stable
    if stop is not None and not 0 < stop <= 1:
        raise ConfigError(f"stop_when_stable is {stop}; it must be above 0 and at most 1")
    if job.preset == "nasi-1shot1" and space.name == "darts":
        raise ConfigError("preset nasi-1shot1 is for the spaces s1, s2 and s3; add --space s1")


def options_without_effect(job: SearchJob) -> list[str]:
    """Options that were given and have no effect, one line each."""
    written = written_by_a_run(job)
    changed = set(changed_from(job, default_job(flat_settings(job)), written))
    lines = []
    if "pairing" in changed and len(get_space(job.samples.space).pairings) < 2:
        lines.append(f"--pairing has no effect: cells of {job.samples.space} have nothing to pair")
    if "num_classes" in changed and job.samples.data != "random":
        lines.append("--num-classes has no effect: the data set brings its own classes")
    lines += data_options_without_effect(job.samples.data, changed)
    if not job.estimate.needs_gradient:
        ignored = ONLY_OF_E if job.measure else (*ONLY_OF_E, "labels", "loss", "temperature")
        given = [name for name in ignored if name in changed]
        lines += [
            f"--{name.replace('_', '-')} has no effect: objective {job.estimate.objective} does "
            "not use the trace norm e; use --preset nasi-fix, or --objective trace-norm"
            for name in given
        ]
    elif job.estimate.estimator not in GRADIENT_ESTIMATORS:
        lines += [
            f"--{name.replace('_', '-')} has no effect: estimator {job.estimate.estimator} takes "
            "no gradient step; use --estimator straight-through"
            for name in ("xi", "normalize", "norm_epsilon")
            if name in changed
        ]
    return lines + compute_options_without_effect(job.compute, written)


ONLY_OF_E = ("method", "nu", "mu", "xi", "normalize", "norm_epsilon")
"""Settings of the estimate that only the objective trace-norm reads."""


def auto_preset(space: str, *, has_budget: bool = False) -> str:
    """Name of the preset that ``auto`` stands for; see ``default_preset``.

    Raises:
        UnknownNameError: If the space is not known.
    """
    found = get_space(space)
    knows_costs = space == "darts" or costs_of(found, "params") is not None
    return default_preset(space, knows_costs=knows_costs, has_budget=has_budget)


def default_job(settings: Mapping[str, Any]) -> SearchJob:
    """The preset's search, of which ``settings`` may name preset, space and limits of size.

    Raises:
        UnknownNameError: If the preset or space is not known.
    """
    given, chosen = settings.get("preset"), settings.get("space") or SampleConfig().space
    name = "auto" if given is None else given
    if name not in (allowed := ["auto", *PRESETS]):
        raise UnknownNameError("preset", name, allowed)
    has_budget = any(settings.get(limit) is not None for limit in ("max_params", "max_madds"))
    found = get_preset(auto_preset(chosen, has_budget=has_budget) if name == "auto" else name)
    samples = dataclasses.replace(found.samples, space=chosen)
    return SearchJob(preset=name, samples=samples, estimate=found.estimate)
