"""What a ranking is asked for: its command line, the plan it amounts to, its records' identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.config import WorkerConfig
from nasi_ray.data import resolve_labels
from nasi_ray.errors import ConfigError
from nasi_ray.networks.supernets import resolve_num_cells
from nasi_ray.proxies import PROXIES, get_proxy
from nasi_ray.ranking.architectures import get_ranked_space, select_positions, table_keys
from nasi_ray.ranking.scores import record_indices
from nasi_ray.ranking.settings import MAX_SEED, SIZE_PROXIES, RankConfig
from nasi_ray.records import IdentityValue
from nasi_ray.run.identity import data_source
from nasi_ray.tables.accuracies import Accuracies, open_accuracies

SCORING_VERSION = 1
"""Raised when a score of the same settings becomes another one."""

DEFAULT_PROXIES = ("trace_norm", "grad_norm", "snip", "synflow", "jacob_cov", "naswot")
"""Cheap ones: at most two passes over one batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankJob:
    """Rank architectures by training-free proxies, and compare with their accuracies."""

    scores: RankConfig = field(default_factory=RankConfig)
    proxies: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            metavar="NAME [NAME ...]",
            help=f"Proxies: all, or some of {', '.join(PROXIES)}. The last two always are there.",
        ),
    ] = DEFAULT_PROXIES
    architectures: str = "all"
    """all: every distinct architecture of the space | a number of random ones | a file with one
    architecture string a line."""
    subset_seed: int = 0
    """Which random ones."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of parameters and batches; an architecture's score is the mean over them."""
    table: str | None = None
    """Parquet table of accuracies (docs/tables.md), or the directory that has it; without one there
    are scores only."""
    metric: str | None = None
    """Column of the table; by default the only one there is, else CIFAR-10 test accuracy after the
    benchmark's full schedule."""
    num_bootstrap: int = 1000
    """Bootstrap draws of the correlations' 95 % intervals; 0: no intervals."""
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    out: str = ""
    """Run directory, a path or s3://bucket/prefix; empty: runs/rank-<named after the settings>."""
    address: str | None = None
    """Address of a Ray cluster; by default RAY_ADDRESS, or a Ray started for this job."""
    price_list: str | None = None
    """JSON file, node type to USD per hour; with it the summary says what the nodes cost."""

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
            raise ConfigError(f"metric is {self.metric!r} without a table; give --table, too")

    @property
    def run_uri(self) -> str:
        """``out``, or the default that the score settings determine."""
        if self.out:
            return self.out
        settings = dataclasses.asdict(self.scores)
        settings["data"] = data_source(self.scores.data)["source"]
        settings["threads_per_worker"] = self.workers.threads_per_worker
        text = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
        return f"runs/rank-{self.scores.space}-{digest}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RankPlan:
    """What is asked for, all names resolved."""

    proxies: tuple[str, ...]
    positions: IntArray
    seeds: tuple[int, ...]
    accuracies: Accuracies | None
    error_percent: FloatArray | None
    """Of the architectures, shape (architectures,); None without a table."""
    total: int

    def indices(self, proxy: str) -> list[int]:
        """Of the records asked for."""
        wanted: list[int] = record_indices(proxy, self.total, self.positions, self.seeds).tolist()
        return wanted


def make_plan(job: RankJob) -> RankPlan:
    """Resolve the names of a job, and read its table.

    Raises:
        NasiRayError: If a name is not known, or the table does not have what is needed.
    """
    names = list(PROXIES) if "all" in job.proxies else list(job.proxies)
    for name in names:
        get_proxy(name)
    space = job.scores.space
    positions = select_positions(space, job.architectures, subset_seed=job.subset_seed)
    accuracies = None if job.table is None else open_accuracies(space, job.table, job.metric)
    return RankPlan(
        proxies=tuple(dict.fromkeys((*SIZE_PROXIES, *names))),
        positions=positions,
        seeds=tuple(dict.fromkeys(job.seeds)),
        accuracies=accuracies,
        error_percent=(
            None if accuracies is None else accuracies.errors_percent(table_keys(space, positions))
        ),
        total=get_ranked_space(space).num_architectures,
    )


def score_identity(
    scores: RankConfig, workers: WorkerConfig, known: Mapping[str, IdentityValue]
) -> dict[str, IdentityValue]:
    """All that determines a score beside proxy, seed and architecture.

    Args:
        scores: What was asked for.
        workers: Of which the number of threads decides the bits.
        known: What the settings leave open (see ``sample_identity``).
    """
    identity: dict[str, IdentityValue] = dataclasses.asdict(scores)
    identity["labels"] = resolve_labels(scores.labels, scores.data)
    identity["num_channels"] = scores.resolved_channels
    if scores.network == "supernet":
        identity["num_cells"] = resolve_num_cells(scores.space, scores.num_cells)
    else:
        del identity["num_cells"]
    identity["threads_per_worker"] = workers.threads_per_worker
    identity["scoring_version"] = SCORING_VERSION
    if scores.device != "auto":
        known = {**known, "device": scores.device}
    return identity | dict(known)
