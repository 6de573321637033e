"""The settings of a ranking and its command line. Quick to import."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from nasi_ray.config import Auto, ComputeSettings, Device, SampleConfig
from nasi_ray.data.labels import resolve_labels
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.proxies import PROXIES
from nasi_ray.run.identity import digest_of, sample_settings, source_name
from nasi_ray.run.limits import parse_limits
from nasi_ray.run.settings import (
    ConfigFile,
    changed_from,
    compute_options_without_effect,
    data_options_without_effect,
    parse_job,
    with_settings,
    written_by_a_run,
)
from nasi_ray.spaces import TabularSpace, get_space, get_tabular_space
from nasi_ray.spaces.darts import DartsSpace
from nasi_ray.spaces.listed import ListedSpace

SIZE_PROXIES = ("num_params", "multiply_adds")
"""Baselines of every ranking. They do not depend on seeds: their records have seed 0."""

_MAX_CHANNELS = 4096

MAX_SEED = 10**8
"""A record's index and its handle must fit 63 bits in the largest space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankConfig:
    """How architectures are scored; a change to any of these gives different scores."""

    space: str = "s1"
    """Space: s1 | s2 | s3 | nb201 | darts (the cells of a file) | the name of a plug-in."""
    data: str = "random"
    """random | a Parquet data set (directory or file) | an image folder (class/file) |
    s3://bucket/prefix of one of these | hf:OWNER/NAME in the cache of Hugging Face's hub |
    CIFAR10 | CIFAR100 | MNIST | FashionMNIST | KMNIST | EMNIST-balanced | EMNIST-letters |
    EMNIST-digits | SVHN | STL10 | the name of a plug-in."""
    split: str = "train"
    """Split of the data set to read: train, test, validation or another name that it has."""
    image_column: str = ""
    """Column of a Parquet data set that holds the images; empty: img or image."""
    label_column: str = ""
    """Column that holds the labels, numbers from 0 or texts (which become classes in sorted
    order); empty: label, fine_label or labels."""
    skip_broken: bool = False
    """Leave out images that cannot be decoded, and say how many and which, instead of an error."""
    labels: Literal["auto", "true", "random", "permuted"] = "auto"
    """Labels of the batch; auto: true ones where the data has them, else random."""
    batch_size: int = 64
    """Images of the batch; for one seed, all architectures see the same batch."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    num_classes: int = 10
    """Classes of random data; data sets bring their own."""
    network: Literal["standalone", "supernet"] = "standalone"
    """standalone: score the benchmark's own network of the architecture (for darts one in the style
    of the search: stride 1, max pooling before reduction cells); supernet: score its sub-network of
    the space's supernet (where all architectures share the parameters of a seed)."""
    num_channels: int | Auto = "auto"
    """Channels of the network's first cells; auto: as in the benchmark (128 for s1 to s3, 16 for
    nb201), or 16 for darts and for a supernet."""
    max_params: str | None = None
    """Give each stand-alone network the most channels with at most this many parameters, such as
    4M: architectures are scored at equal size."""
    max_madds: str | None = None
    """Likewise with at most this many multiply-adds, such as 40M."""
    num_cells: int | Auto = "auto"
    """Cells of the supernet, and of networks of darts; auto: 9 for s1 to s3, 15 for nb201, 8 for
    darts."""
    init: Literal["default", "kaiming", "xavier"] = "default"
    """Initial parameters: PyTorch's default, Kaiming or Xavier normal. (Proxies that sum over
    weights are not defined for the NTK parameterisation.)"""
    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    """Loss of the proxies that need one; mse is against one-hot labels."""
    dtype: Literal["float32", "float64"] = "float32"
    """Arithmetic of the evaluation."""
    device: Device = "auto"
    """Where scores are evaluated; auto: cuda where workers hold GPUs, else cpu."""

    def __post_init__(self) -> None:
        space = self._space
        resolve_labels(self.labels, self.data)
        if self.num_channels != "auto" and not 1 <= self.num_channels <= _MAX_CHANNELS:
            raise ConfigError(
                f"num_channels is {self.num_channels}; it must be auto, or 1 to {_MAX_CHANNELS}"
            )
        self.sample_config(0)  # checks the other ranges
        self._check_limits()
        if isinstance(space, DartsSpace | ListedSpace):
            if self.network == "supernet":
                raise ConfigError(
                    "network is supernet, but a DARTS cell has two operations per node, so it is "
                    "not a single path through the supernet; use --network standalone"
                )
            space.resolve_num_cells(self.num_cells)
            return
        if self.network == "standalone" and self.num_cells != "auto":
            raise ConfigError(
                f"num_cells is {self.num_cells}, but the benchmark fixes the cells of a "
                "stand-alone network; leave it out, or use --network supernet"
            )
        if self.network == "supernet":
            space.resolve_num_cells(self.num_cells)
        elif self.resolved_channels < space.min_channels:
            raise ConfigError(
                f"num_channels is {self.num_channels}; cells of {self.space} concatenate "
                f"{space.min_channels} vertices and need at least {space.min_channels}"
            )

    def _check_limits(self) -> None:
        parse_limits(self)
        if not self.is_limited:
            return
        name = "max_params" if self.max_params is not None else "max_madds"
        if self.num_channels != "auto":
            raise ConfigError(
                f"num_channels is {self.num_channels}, but {name} chooses it; leave one of them out"
            )
        if self.network == "supernet":
            raise ConfigError(
                f"{name} is {getattr(self, name)}, but all architectures share one supernet; leave "
                "it out, or use --network standalone"
            )

    @property
    def is_limited(self) -> bool:
        """Whether each architecture has channels of its own, as many as limits allow."""
        return self.max_params is not None or self.max_madds is not None

    @property
    def _space(self) -> TabularSpace[Any] | DartsSpace:
        """DARTS stands for a list of its cells, which is not known here."""
        space = get_space(self.space)
        return space if isinstance(space, DartsSpace) else get_tabular_space(self.space)

    @property
    def resolved_channels(self) -> int:
        """``num_channels``, or what auto stands for."""
        if self.num_channels != "auto":
            return self.num_channels
        space = self._space
        if self.network == "supernet" or isinstance(space, DartsSpace):
            return SampleConfig().init_channels
        return space.num_channels

    @property
    def resolved_cells(self) -> int | None:
        """``num_cells``, or what auto stands for; None where the benchmark fixes it."""
        space = self._space
        if self.network == "standalone" and not isinstance(space, DartsSpace | ListedSpace):
            return None
        return space.resolve_num_cells(self.num_cells)

    def sample_config(self, seed: int) -> SampleConfig:
        """The settings of batches and supernet at one seed."""
        shared = {field.name for field in dataclasses.fields(SampleConfig)}
        settings: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in shared
        }
        return SampleConfig(**settings, seed=seed, init_channels=self.resolved_channels)


DEFAULT_PROXIES = ("trace_norm", "grad_norm", "snip", "synflow", "jacob_cov", "naswot")
"""Cheap ones: at most two passes over one batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankJob:
    """Rank architectures by training-free proxies, and compare with their accuracies."""

    config: ConfigFile = None
    scores: RankConfig = field(default_factory=RankConfig)
    proxies: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            metavar="NAME [NAME ...]",
            help=f"Proxies: all, or some of {', '.join(PROXIES)}. num_params and "
            "multiply_adds are always included.",
        ),
    ] = DEFAULT_PROXIES
    architectures: str = "all"
    """all: every distinct architecture of the space | a number of random ones | a file with one
    architecture a line: strings, NAS-Bench-101 hashes or matrices (docs/ranking.md). For darts: a
    file with one cell a line (JSON or Genotype(...)), or a Parquet file with a column genotype."""
    subset_seed: int = 0
    """Seed of the choice of random architectures."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of parameters and batches; an architecture's score is the mean over them."""
    table: str | None = None
    """Parquet table of accuracies (docs/tables.md), or the directory that holds it; without a table
    there are scores only."""
    metric: str | None = None
    """Column of the table; default: the only one, else CIFAR-10 test accuracy after the full
    schedule."""
    num_bootstrap: int = 1000
    """Bootstrap draws for the 95 % intervals of correlations; 0: no intervals."""
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    report: bool = True
    """At the end, write a page about the run: report.html in the run directory (docs/report.md).
    The Python functions write none."""
    out: str = ""
    """Run directory, a path or s3://bucket/prefix; empty: runs/rank-<named after the settings>."""

    def __post_init__(self) -> None:
        if not self.proxies:
            raise ConfigError("proxies is empty; name some, or all")
        bad = [seed for seed in self.seeds if not 0 <= seed <= MAX_SEED]
        if bad or not self.seeds:
            raise ConfigError(f"seeds is {list(self.seeds)}; give one or more from 0 to {MAX_SEED}")
        if self.num_bootstrap < 0 or self.num_bootstrap > 100_000:
            raise ConfigError(f"num_bootstrap is {self.num_bootstrap}; it must be 0 to 100000")
        if self.subset_seed < 0:
            raise ConfigError(f"subset_seed is {self.subset_seed}; it must be at least 0")
        if self.metric is not None and self.table is None:
            raise ConfigError(f"metric is {self.metric!r} without a table; give --table as well")

    @property
    def proxy_names(self) -> tuple[str, ...]:
        """The proxies asked for, each once, after those of every ranking.

        Raises:
            UnknownNameError: If a proxy is not known.
        """
        names = PROXIES.names() if "all" in self.proxies else self.proxies
        for name in names:
            if name not in PROXIES:
                raise UnknownNameError("proxy", name, PROXIES.names())
        return tuple(dict.fromkeys((*SIZE_PROXIES, *names)))

    @property
    def run_uri(self) -> str:
        """``out``, or the default that the score settings determine."""
        if self.out:
            return self.out
        settings = sample_settings(self.scores)
        settings["data"] = source_name(self.scores.data)
        settings["threads_per_worker"] = self.compute.threads_per_worker
        return f"runs/rank-{self.scores.space}-{digest_of(settings)}"


def make_rank_job(settings: Mapping[str, Any], *, where: str = "rank") -> RankJob:
    """A ranking with these settings.

    Args:
        settings: Name -> value; names are those of the options, with underscores.
        where: Where the settings were given, for messages.

    Raises:
        ConfigError: If a name or value is not allowed.
        UnknownNameError: If the space or a proxy is not known.
    """
    job = with_settings(RankJob(), settings, where=where)
    _ = job.proxy_names
    return job


def parse_rank(argv: Sequence[str]) -> RankJob:
    """Read the ranking job's command line; precedence: default < ``--config`` < flag.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    job = parse_job(argv, "rank", lambda known: RankJob())
    _ = job.proxy_names
    return job


def options_without_effect(job: RankJob) -> list[str]:
    """Options that were given and have no effect, one line each."""
    written = written_by_a_run(job)
    changed = set(changed_from(job, RankJob(), written))
    lines = []
    if "num_classes" in changed and job.scores.data != "random":
        lines.append("--num-classes has no effect: the data set brings its own classes")
    lines += data_options_without_effect(job.scores.data, changed)
    if "subset_seed" in changed and not job.architectures.isdigit():
        lines.append("--subset-seed has no effect: no random architectures are asked for")
    return lines + compute_options_without_effect(job.compute, written)
