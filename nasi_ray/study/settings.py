"""The study job's settings and command line: a subcommand per table or figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import tyro

from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig, get_preset
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.run.command_line import parse
from nasi_ray.run.settings import ConfigFile, given_options, read_settings, with_settings
from nasi_ray.spaces import get_space

Mode = Literal["true", "random-labels", "random-data"]
"""The paper's standard search, its search with random labels, and that with random data."""

Init = Literal["default", "kaiming", "xavier", "ntk"]

MODES: tuple[Mode, ...] = ("true", "random-labels", "random-data")

_PRESET = "nasi-ntk"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySamples(SampleConfig):
    """What is sampled; the study sets the settings that are not listed here."""

    space: str = "s1"
    """Search space: s1, s2, s3 or nb201; for the study `cells` also darts."""
    seed: tyro.conf.Suppress[int] = 0
    labels: tyro.conf.Suppress[Literal["auto", "true", "random", "permuted"]] = "auto"


def _study_samples(preset: str) -> StudySamples:
    settings = dataclasses.asdict(get_preset(preset).samples)
    return StudySamples(**{**settings, "space": StudySamples().space})


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySettings:
    """Settings of every study."""

    config: ConfigFile = None
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Root seeds; each is a search of its own."""
    table: str = ""
    """Parquet table of the space's accuracies, or the directory that has it."""
    metric: str = ""
    """The table's column; empty: the only one there is, else CIFAR-10 test accuracy after the
    benchmark's full schedule."""
    preset: str = _PRESET
    """A named set of settings; flags override them."""
    samples: StudySamples = field(default_factory=lambda: _study_samples(_PRESET))
    estimate: EstimateConfig = field(default_factory=lambda: get_preset(_PRESET).estimate)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    report: bool = True
    """At the end, write a page about the run: report.html in the run directory (docs/report.md).
    The Python functions write none."""
    out: str = "runs/study"
    """Where results go, a path or s3://bucket/prefix; the searches' records go below runs/ there
    and are shared by all subcommands."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ConfigError("no seed was given; add some, as in --seeds 0 1 2")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds {self.seeds} names a seed twice; give each seed once")
        for seed in self.seeds:
            dataclasses.replace(self.samples, seed=seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A table or figure."""

    settings: StudySettings = field(default_factory=StudySettings)


@dataclass(frozen=True, kw_only=True, slots=True)
class OneModeStudy(Study):
    """A study of searches in one data mode."""

    mode: Mode | Literal["auto"] = "auto"
    """Data mode; auto: true where --data names a data set, else random-data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgnosticStudy(Study):
    """Figure 1: e of the same architectures with true labels, random labels and random data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectivenessStudy(OneModeStudy):
    """Figure 2: error of the selected cell against the number of samples T."""

    step: int = 10
    """Samples between two points of the curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TradeoffStudy(OneModeStudy):
    """Figures 3 and 4: error against e of sampled architectures; selected cells over ν and μ."""

    nus: tuple[float | str, ...] = ("q10", "q25", "q50", "q75", "q90", "sweep", "auto")
    """Values of ν, as for --nu; a percentile is of the seed's own e."""
    mus: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 4.0)
    """Values of μ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table2Study(Study):
    """Table 2: searches on true labels, random labels and random data, and what needs no search."""

    spaces: tuple[str, ...] = ()
    """Spaces, each with a table in the directory --table; empty: --space alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellsStudy(OneModeStudy):
    """The cells the seeds select, and their consensus; of any space, darts too, without a table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationStudy(OneModeStudy):
    """Appendix C.6: one setting changed at a time; an empty list of values leaves it out."""

    init_values: tuple[Init, ...] = ("default", "kaiming", "xavier", "ntk")
    """Initial parameters θ0."""
    init_per_values: tuple[Literal["search", "sample"], ...] = ("search", "sample")
    """Whether θ0 is drawn once or anew for every sample."""
    init_channels_values: tuple[int, ...] = (4, 8, 16)
    """Channels of the supernet."""
    num_cells_values: tuple[int, ...] = (3, 6, 9)
    """Cells of the supernet."""
    batch_size_values: tuple[int, ...] = (16, 32, 64)
    """Images per sample."""
    sample_per_values: tuple[Literal["step", "cell"], ...] = ("step", "cell")
    """Whether the cells of a supernet share one draw."""
    batch_norm_values: tuple[Literal["affine", "plain"], ...] = ("affine", "plain")
    """Whether batch norm has parameters."""
    loss_values: tuple[Literal["cross-entropy", "mse"], ...] = ("cross-entropy", "mse")
    """Losses."""
    num_samples_values: tuple[int, ...] = (25, 50, 100, 200, 400)
    """Numbers of samples T; those above --num-samples are left out."""
    nu_values: tuple[float | str, ...] = ("q10", "q25", "q50", "q75", "q90", "sweep", "auto")
    """Values of ν, as for --nu; a percentile is of the seed's own e."""
    mu_values: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 4.0)
    """Values of μ."""
    normalize_values: tuple[Literal["max", "each"], ...] = ("max", "each")
    """What a sample's G is divided by."""
    rule_values: tuple[str, ...] = ("nasi-1shot1", "nasi-ada", "nasi-fix")
    """Presets whose estimate (T up to --num-samples, FIX or ADA, ν, μ, normalisation) is made of
    the same records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetsStudy(Study):
    """Presets side by side, with and without a limit on size; what each measurement tells."""

    presets: tuple[str, ...] = ("nasi-panel", "nasi-balanced", "nasi-relative")
    """Presets; each brings its own settings of samples and estimate."""
    spaces: tuple[str, ...] = ()
    """Spaces, each with a table in the directory --table; empty: --space alone."""
    modes: tuple[Mode, ...] = ("true", "random-data")
    """Data modes; true needs --data."""

    def __post_init__(self) -> None:
        for preset in self.presets:
            get_preset(preset)


STUDIES: dict[str, type[Study]] = {
    "agnostic": AgnosticStudy,
    "effectiveness": EffectivenessStudy,
    "tradeoff": TradeoffStudy,
    "table2": Table2Study,
    "cells": CellsStudy,
    "ablation": AblationStudy,
    "presets": PresetsStudy,
}
"""Name on the command line -> settings."""


def make_study(name: str, settings: Mapping[str, Any], *, where: str = "study") -> Study:
    """A study with these settings; precedence: default < preset < settings.

    Args:
        name: Of the study.
        settings: Name -> value, as options are called, with underscores.
        where: Where the settings were given, for messages.

    Raises:
        ConfigError: If a name or value is not allowed.
        UnknownNameError: If there is no such study, preset or space.
    """
    if name not in STUDIES:
        raise UnknownNameError("study", name, list(STUDIES))
    default = STUDIES[name](settings=_default(settings.get("preset")))
    return _checked(with_settings(default, settings, where=where))


def parse_study(argv: Sequence[str]) -> Study:
    """Read the study job's command line; precedence: default < preset < ``--config`` < flag.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    given = given_options(argv, "preset", "config")
    path, name = given["config"], next((arg for arg in argv if arg in STUDIES), "")
    settings = read_settings(path, f"study {name}") if path is not None else {}
    common = _default(settings.get("preset") if given["preset"] is None else given["preset"])
    defaults = {study: kind(settings=common) for study, kind in STUDIES.items()}
    if name:
        defaults[name] = with_settings(defaults[name], settings, where=str(path))
    kinds: Any = tyro.extras.subcommand_type_from_defaults(defaults)
    about = "Study searches against a table of accuracies."
    options: Any = {"config": (tyro.conf.OmitArgPrefixes,)}
    return _checked(parse(kinds, argv, "study", about=about, kinds=STUDIES, **options))


def _checked(study: Study) -> Study:
    samples = study.settings.samples
    get_space(samples.space).resolve_num_cells(samples.num_cells)
    return study


def _default(preset: str | None) -> StudySettings:
    name = _PRESET if preset in (None, "auto") else str(preset)
    estimate = get_preset(name).estimate
    return StudySettings(preset=name, samples=_study_samples(name), estimate=estimate)
