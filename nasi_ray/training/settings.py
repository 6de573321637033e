"""The settings of a training and its command line. Quick to import."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from nasi_ray.config import Auto, ComputeSettings, Device, SampleConfig, labels_of
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.run.identity import digest_of, source_name
from nasi_ray.run.limits import parse_limits
from nasi_ray.run.settings import (
    ConfigFile,
    changed_from,
    flat_settings,
    parse_job,
    with_settings,
    written_by_a_run,
)
from nasi_ray.run.tracking import TrackConfig
from nasi_ray.spaces import get_space
from nasi_ray.training.recipes import (
    MOST_LOADER_PROCESSES,
    RECIPES,
    TrainingConfig,
    check,
    training_settings,
)

ACCURACIES = "accuracies.parquet"
"""What a list of trainings leaves: a row per cell, with the accuracy of each seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectConfig:
    """What is trained."""

    genotype: Annotated[str | None, tyro.conf.arg(metavar="FILE|TEXT")] = None
    """A DARTS cell: a file with JSON or the text Genotype(...), that text itself, or the run
    directory of a search."""
    space: str = "darts"
    """Space of --architecture."""
    architecture: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """An architecture in the notation of its space, in place of --genotype; those of s1, s2, s3 and
    nb201 are trained in their benchmark's own network."""

    genotypes: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Many DARTS cells, each trained by itself: one a line, or a Parquet file with a column
    ``genotype``. --num-workers is how many are trained at once; the result is
    accuracies.parquet."""
    max_madds: Annotated[str | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Take the largest C with at most this many multiply-adds, such as 600M, as ``nasi-ray
    describe`` counts them, at the recipe's image size; of --genotypes for each cell by itself."""
    max_params: Annotated[str | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Take the largest C with at most this many parameters, such as 4M (no auxiliary tower)."""

    def __post_init__(self) -> None:
        get_space(self.space)
        parse_limits(self)
        names = ("genotype", "architecture", "genotypes")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} are given together; leave all but one out")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The images."""

    data: str = "random"
    """random (made up: each class has a pattern, under noise) | a Parquet data set (directory or
    file) | an image folder (class/file) | hf:OWNER/NAME in the cache of Hugging Face's hub |
    s3://bucket/prefix | CIFAR10 and other names (docs/data.md)."""
    split: str = "train"
    """Split to train on."""
    test_data: str = ""
    """Where the test images are; empty: as --data."""
    test_split: str = "auto"
    """Split to test on; auto: test, or else validation."""
    image_column: str = ""
    """Column of a Parquet data set that holds the images; empty: img or image."""
    label_column: str = ""
    """Column that holds the labels; empty: label, fine_label or labels."""
    skip_broken: bool = False
    """Leave out images that cannot be decoded, instead of an error."""

    def options(self, split: str) -> ReadOptions:
        """What is read of a data set."""
        return ReadOptions(
            split=split,
            image_column=self.image_column,
            label_column=self.label_column,
            skip_broken=self.skip_broken,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainCompute:
    """Where a training runs.

    Of these only the numbers of workers and threads and the device change a result, in its last
    digits.
    """

    num_workers: int | Auto = "auto"
    """Workers (Ray Train, one process each, DDP); 0: this process, without Ray; auto: one per GPU
    where there are several, else 0. The batch of the recipe is divided among them."""
    min_workers: int | None = None
    """Elastic training: the fewest workers to continue with while the cluster has no room for
    --num-workers. Workers are added once there is room; the batch size does not change. None:
    always --num-workers."""
    threads_per_worker: int = 1
    """CPU threads of one worker."""
    gpus_per_worker: float = 1.0
    """GPUs of one worker, on cuda; a fraction lets small trainings of a list share a GPU."""
    loader_processes: int | Auto = "auto"
    """Processes of each worker that decode and augment images; auto: none for small images, which
    are in memory, else one per CPU of the worker's share, at most 8."""
    device: Device = "auto"
    """Where to train; auto: cuda where there are GPUs, else cpu."""
    compile: bool = False
    """Compile the network with torch.compile."""
    checkpoint_steps: int = 0
    """Also save a checkpoint every this many steps within an epoch; 0: after each epoch only."""
    keep_checkpoints: int = 2
    """Latest checkpoints to keep, beside the best one."""
    max_failures: int = 3
    """Deaths of workers after which the run gives up; preempted nodes do not count."""
    capacity_timeout_s: float | Auto = "auto"
    """Seconds to wait for room for all workers before giving up; auto: 2 minutes, or half an hour
    if the cluster adds nodes on demand."""
    label_selector: str = ""
    """Nodes that workers may run on, by Ray's labels, as for a search; "": any node."""
    address: str | None = None
    """Address of a Ray cluster; default: RAY_ADDRESS; otherwise Ray is started for this job."""

    def __post_init__(self) -> None:
        labels_of(self.label_selector)
        check(self, "num_workers", lambda v: v == "auto" or 0 <= v <= 4096, "auto, or 0 to 4096")
        check(self, "min_workers", lambda v: v is None or v >= 1, "at least 1, or left out")
        if self.min_workers is not None and (
            self.num_workers == "auto" or self.num_workers < self.min_workers
        ):
            raise ConfigError(
                f"min_workers is {self.min_workers} and num_workers is {self.num_workers}; give "
                "--num-workers a number that is at least min_workers"
            )
        check(self, "threads_per_worker", lambda v: 1 <= v <= 1024, "1 to 1024")
        check(self, "gpus_per_worker", lambda v: 0 < v <= 1, "above 0, and at most 1")
        check(self, "loader_processes", lambda v: v == "auto" or 0 <= v <= 256, "auto, or 0 to 256")
        check(self, "checkpoint_steps", lambda v: v >= 0, "at least 0")
        check(self, "keep_checkpoints", lambda v: v >= 1, "at least 1")
        check(self, "max_failures", lambda v: v >= 0, "at least 0")
        check(
            self,
            "capacity_timeout_s",
            lambda v: v == "auto" or 0 < v < float("inf"),
            "auto, or positive and finite",
        )

    def alone(self) -> TrainCompute:
        """Of one of many trainings, each a process, side by side on workers or in turn here."""
        processes = self.loader_processes
        if processes == "auto" and self.num_workers != 0:
            processes = min(self.threads_per_worker, MOST_LOADER_PROCESSES)
        return dataclasses.replace(self, num_workers=0, address=None, loader_processes=processes)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainJob:
    """Train the network of a cell."""

    config: ConfigFile = None
    recipe: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(RECIPES) + "}")] = "quick"
    """A named set of settings; flags override them (docs/training.md)."""
    subject: SubjectConfig = field(default_factory=SubjectConfig)
    training: TrainingConfig = field(default_factory=lambda: RECIPES["quick"])
    images: DataConfig = field(default_factory=DataConfig)
    compute: TrainCompute = field(default_factory=TrainCompute)
    tracking: TrackConfig = field(default_factory=TrackConfig)
    seeds: tuple[int, ...] = ()
    """Of --genotypes: train each cell with each of these seeds; empty: with --seed."""
    report: bool = True
    """At the end, write a page about the run: report.html in the run directory (docs/report.md).
    The Python functions write none."""
    out: str = ""
    """Run directory, a path or s3://bucket/prefix; empty: runs/train-<named after the settings>."""

    @property
    def run_uri(self) -> str:
        """``out``, or the default that the settings determine."""
        if self.out:
            return self.out
        subject = dataclasses.asdict(self.subject)
        # Names from before there were limits stay what they are.
        given = {k: v for k, v in subject.items() if v is not None or not k.startswith("max_")}
        settings = {**given, **training_settings(self.training)}
        settings["data"] = source_name(self.images.data)
        return f"runs/train-{self.recipe}-{digest_of(settings)}"


def make_train_job(settings: Mapping[str, Any], *, where: str = "train") -> TrainJob:
    """A training with these settings; precedence: default < recipe < settings.

    Args:
        settings: Name -> value; names are those of the options, with underscores.
        where: Where the settings were given, for messages.

    Raises:
        ConfigError: If a name or value is not allowed.
        UnknownNameError: If the recipe or space is not known.
    """
    job = with_settings(_default(settings.get("recipe")), settings, where=where)
    check_job(job)
    return job


def parse_train(argv: Sequence[str]) -> TrainJob:
    """Read the command line; precedence: default < recipe < ``--config`` < flag.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    job = parse_job(argv, "train", lambda known: _default(known.get("recipe")), "recipe")
    check_job(job)
    return job


def job_after_search(
    recipe: str,
    samples: SampleConfig,
    compute: ComputeSettings,
    *,
    space: str,
    architecture: str,
    out: str,
    tracking: TrackConfig | None = None,
) -> TrainJob:
    """The training of a cell that a search has found, on the same data and workers.

    Args:
        recipe: Name of the recipe.
        samples: Of the search.
        compute: Of the search.
        space: Name of the space.
        architecture: The cell, in the notation of its space.
        out: Run directory of the search.
        tracking: Who is told; None: nobody.

    Raises:
        UnknownNameError: If the recipe is not known.
    """
    # The searches' own nodes are not those of trainings: only what was asked for holds for both.
    usual = ComputeSettings()
    asked = {name: getattr(compute, name) for name in ("label_selector", "capacity_timeout_s")}
    names = ("data", "split", "image_column", "label_column", "skip_broken", "seed", "device")
    return make_train_job(
        {
            "recipe": recipe,
            "space": space,
            "architecture": architecture,
            "num_workers": compute.num_workers,
            "threads_per_worker": compute.threads_per_worker,
            "address": compute.address,
            **{name: value for name, value in asked.items() if value != getattr(usual, name)},
            **{name: getattr(samples, name) for name in names},
            **flat_settings(tracking or TrackConfig()),
            "out": f"{out.rstrip('/')}/train",
        },
        where="search --then-train",
    )


def check_job(job: TrainJob) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ConfigError: If there is no cell, or settings do not go together.
    """
    subject = job.subject
    if subject.genotype is None and subject.architecture is None and subject.genotypes is None:
        raise ConfigError(
            "give a cell: either --genotype with a file, its text or a run directory, or "
            "--architecture with its text (and --space); or --genotypes with a list"
        )
    if job.seeds and subject.genotypes is None:
        raise ConfigError("seeds are for --genotypes; give --seed for one training")
    limits = [name for name in ("max_madds", "max_params") if getattr(subject, name) is not None]
    recipe = RECIPES[job.recipe]
    if limits and job.training.init_channels != recipe.init_channels:
        raise ConfigError(
            f"init_channels is {job.training.init_channels}, but {limits[0]} chooses it; leave one "
            "of them out"
        )
    if job.training.holdout and job.images.test_data:
        raise ConfigError(
            f"holdout is {job.training.holdout:g}, so that test images are not read, and test_data "
            f"is {job.images.test_data!r}; leave one out"
        )
    refuse_sync_bn(job.training, job.compute.device)
    if job.compute.min_workers is not None:
        _refuse_elastic(job)


def refuse_sync_bn(training: TrainingConfig, device: str) -> None:
    """Refuse synchronised batch norm where torch has none.

    Raises:
        ConfigError: If it is asked for on a CPU.
    """
    if training.sync_bn and device == "cpu":
        raise ConfigError("sync_bn is on, but torch has it on GPUs only; leave it out")


def _refuse_elastic(job: TrainJob) -> None:
    """Refuse what does not go together with a number of workers that changes."""
    for is_given, name, why in (
        (job.subject.genotypes is not None, "genotypes", "each training of a list has one process"),
        (job.training.sync_bn, "sync_bn", "its statistics would change with the workers"),
        # Ray counts the places of all nodes, and would wait for those that it may not use.
        (
            bool(job.compute.label_selector),
            "label_selector",
            "Ray also counts the nodes that the selector excludes",
        ),
    ):
        if is_given:
            raise ConfigError(
                f"min_workers is {job.compute.min_workers}, and {name} is given: {why}; leave one "
                "of them out"
            )


def options_without_effect(job: TrainJob) -> list[str]:
    """Options that were given and have no effect, one line each."""
    lines, written = [], written_by_a_run(job)
    if job.compute.num_workers == 0:
        changed = set(changed_from(job.compute, TrainCompute(), written))
        names: tuple[str, ...] = (
            "gpus_per_worker",
            "max_failures",
            "capacity_timeout_s",
            "label_selector",
            "address",
        )
        given = [f"--{name.replace('_', '-')}" for name in names if name in changed]
        if given:
            lines.append(f"no effect, since there are no workers: {', '.join(given)}")
    if job.images.data == "random":
        changed = set(changed_from(job.images, DataConfig(), written))
        if changed:
            names = tuple(f"--{name.replace('_', '-')}" for name in sorted(changed))
            lines.append(f"no effect, since no data set is named: {', '.join(names)}")
    if job.training.holdout and job.images.test_split != "auto":
        lines.append("no effect, since training images are held out: --test-split")
    space, usual = job.subject.space, RECIPES[job.recipe].num_cells
    if job.subject.architecture and space != "darts" and job.training.num_cells != usual:
        lines.append(f"no effect, since the benchmark of {space} fixes them: --num-cells")
    return lines


def refuse_unknown_recipe(name: str) -> None:
    """Refuse a name that is no recipe's.

    Raises:
        UnknownNameError: If it is not known.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, list(RECIPES))


def _default(recipe: str | None) -> TrainJob:
    name = "quick" if recipe is None else str(recipe)
    refuse_unknown_recipe(name)
    return TrainJob(recipe=name, training=RECIPES[name])
