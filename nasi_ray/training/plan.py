"""What a training needs, settled before it starts: workers, images, network."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import torch
from torch import nn

from nasi_ray.display.formats import plural
from nasi_ray.errors import ConfigError, DataError
from nasi_ray.progress import Progress
from nasi_ray.run.counts import widest
from nasi_ray.run.limits import Limited
from nasi_ray.spaces import Genotype, TabularArchitecture, get_tabular_space
from nasi_ray.spaces.final_network import NETWORKS
from nasi_ray.storage import Storage
from nasi_ray.training.images import CROP_SHARE, TrainImages, load_train_images
from nasi_ray.training.loop import TrainPlan
from nasi_ray.training.model import ModelConfig, constructor
from nasi_ray.training.recipes import TrainingConfig
from nasi_ray.training.settings import TrainJob

_MOST_INITIAL = 0.1


def find_compute(job: TrainJob) -> tuple[str, int]:
    """Device (``cpu`` or ``cuda``), and number of workers; 0: this process.

    Raises:
        ConfigError: If there is no GPU where one is asked for, or a cluster may or may not have
            some.
    """
    compute, gpus = job.compute, torch.cuda.device_count()
    is_here = not (compute.address or os.environ.get("RAY_ADDRESS"))
    if compute.num_workers == "auto":
        fitting = gpus if gpus > 1 and compute.device != "cpu" else 0
        num_workers = fitting if is_here else max(1, fitting)
    else:
        num_workers = compute.num_workers
    device = compute.device
    if device == "auto" and num_workers and not is_here and not gpus:
        raise ConfigError(
            "device is auto, and this machine, from which the job joins a cluster, has no GPU; say "
            "whether the workers have one: --device cuda, or --device cpu"
        )
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device == "cuda" and (is_here or num_workers == 0) and gpus < max(1, num_workers):
        raise ConfigError(
            f"{max(1, num_workers)} workers on cuda need as many GPUs, and torch "
            f"{torch.__version__} sees {gpus} here; use --device cpu, fewer workers, or a cluster "
            "with --address"
        )
    return device, num_workers


def refuse_bad_batch(training: TrainingConfig, num_workers: int) -> None:
    """Refuse a batch that the workers cannot share.

    Args:
        training: With a number as ``micro_batch_size``.
        num_workers: 0: this process.

    Raises:
        ConfigError: If they cannot.
    """
    batch, micro, size = training.batch_size, training.micro_batch_size, max(1, num_workers)
    assert micro != "auto"
    # Synchronised batch norm waits for all workers at each micro-batch.
    step = micro * size if training.sync_bn else micro
    workers = plural(size, "worker")
    if batch % step or batch < size * micro:
        raise ConfigError(
            f"a batch of {batch} cannot be shared by {workers} that take {micro} images at a "
            f"time; batch_size must be a multiple of {step}, and at least {size * micro}: give "
            "another --batch-size, --micro-batch-size or --num-workers"
        )
    if micro < 2:
        raise ConfigError(
            f"a worker would take {micro} image at a time, and batch norm needs 2; give fewer "
            "workers, or a larger --micro-batch-size"
        )
    if training.mixes and micro % 2:
        raise ConfigError(f"micro_batch_size is {micro}; mixup and cutmix need an even number")


def moving_average_note(training: TrainingConfig, num_steps: int) -> str | None:
    """What to say where the moving average is still the initial weights for the most part.

    Args:
        training: The recipe.
        num_steps: Of the whole training.
    """
    initial = training.ema_decay**num_steps
    if initial < _MOST_INITIAL:
        return None
    return (
        f"the weights that are tested and kept are a moving average, and after all {num_steps} "
        f"steps it is {initial:.0%} the initial weights; lower --ema-decay (0: none), or train "
        "for longer"
    )


def read_images(job: TrainJob, training: TrainingConfig, progress: Progress) -> TrainImages:
    """Both sets of images, for one training or many.

    Raises:
        NasiRayError: If they are missing, broken or too few.
    """
    start = time.perf_counter()
    images = load_train_images(job.images, training)
    if images.num_train < training.batch_size:
        raise DataError(
            f"batch_size is {training.batch_size} and there are {images.num_train} training "
            "images; use a smaller batch"
        )
    classes = NETWORKS[training.network].num_classes
    is_paper = job.recipe in ("cifar10", "cifar100", "imagenet")
    if is_paper and job.images.data != "random" and images.num_classes != classes:
        progress.message(
            f"note: recipe {job.recipe} is for {classes} classes, and {job.images.data} has "
            f"{images.num_classes}; the network gets {images.num_classes}"
        )
    kind = "test" if images.held is None else "held-out"
    progress.message(
        f"{images.num_train} training and {images.num_test} {kind} images of {job.images.data} "
        f"read in {time.perf_counter() - start:.1f} s"
    )
    return images


def plan_training(
    job: TrainJob,
    training: TrainingConfig,
    storage: Storage,
    images: TrainImages,
    subject: tuple[str, TabularArchitecture],
    device: str,
) -> TrainPlan:
    """What a training's workers get.

    Args:
        job: Settings of the command.
        training: With a number as ``micro_batch_size``.
        storage: Run directory.
        images: Both sets.
        subject: Space and architecture.
        device: ``cpu`` or ``cuda``.

    Raises:
        ConfigError: If the recipe and the network do not fit.
    """
    assert training.micro_batch_size != "auto"
    asked = job.compute.loader_processes
    return TrainPlan(
        uri=storage.uri,
        model=model_config(training, images, *subject),
        training=training,
        micro_batch_size=training.micro_batch_size,
        images=images,
        threads=job.compute.threads_per_worker,
        device=device,
        loader_processes=None if asked == "auto" else asked,
        compile=job.compute.compile,
        checkpoint_steps=job.compute.checkpoint_steps,
        keep_checkpoints=job.compute.keep_checkpoints,
    )


def model_config(
    training: TrainingConfig, images: TrainImages, space: str, architecture: TabularArchitecture
) -> ModelConfig:
    """The network of a training.

    Raises:
        ConfigError: If the recipe and the network do not fit.
    """
    mean, std = images.statistics
    network = _network(training, space, architecture, images.num_classes, mean, std)
    crop = 1.0 if training.augment != "resized-crop" else CROP_SHARE
    return dataclasses.replace(network, class_names=images.class_names, crop_pct=crop)


def widest_within(
    training: TrainingConfig, space: str, architecture: TabularArchitecture, limits: Limited
) -> TrainingConfig:
    """The recipe with the largest C whose network is within limits.

    The network is that of the recipe's data set: for other numbers of classes the last layer is
    larger or smaller.

    Raises:
        ConfigError: If the narrowest network is above a limit, or the widest below all.
    """
    classes = NETWORKS[training.network].num_classes

    def with_channels(channels: int) -> TrainingConfig:
        return dataclasses.replace(training, init_channels=channels)

    def make(channels: int) -> nn.Module:
        return constructor(_network(with_channels(channels), space, architecture, classes))()

    if isinstance(architecture, Genotype):
        smallest = NETWORKS[training.network].min_channels
    else:
        smallest = get_tabular_space(space).min_channels
    channels = widest(make, limits, image_size=training.image_size, smallest=smallest)
    return with_channels(channels)


def _network(
    training: TrainingConfig,
    space: str,
    architecture: TabularArchitecture,
    num_classes: int,
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> ModelConfig:
    text: str = architecture.to_string()
    common: dict[str, Any] = {
        "space": space,
        "architecture": text,
        "num_classes": num_classes,
        "image_size": training.image_size,
        "mean": mean,
        "std": std,
    }
    channels, num_cells = training.init_channels, training.num_cells
    if isinstance(architecture, Genotype):
        usual = NETWORKS[training.network]
        return ModelConfig(
            **common,
            network=training.network,
            init_channels=usual.init_channels if channels == "auto" else channels,
            num_cells=usual.num_cells if num_cells == "auto" else num_cells,
            auxiliary=training.auxiliary_weight > 0,
        )
    if training.network == "imagenet":
        raise ConfigError(
            f"the recipe's network is imagenet, but the benchmark of {space} has networks for "
            "images of 32 pixels only; take recipe cifar10, cifar100 or quick"
        )
    smallest = get_tabular_space(space).num_channels
    return ModelConfig(
        **common,
        network="benchmark",
        init_channels=smallest if channels == "auto" else channels,
        num_cells=None,
    )
