"""How a network is trained: every number of a training, and the recipes. Quick to import."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nasi_ray.config import Auto
from nasi_ray.errors import ConfigError

MOST_LOADER_PROCESSES = 8
"""Of a worker, unless more are asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How a network is trained; a change to any of these is another training.

    The defaults are the paper's for CIFAR-10 (App. B.4).
    """

    network: Literal["cifar10", "cifar100", "imagenet"] = "cifar10"
    """Network that a DARTS cell is built into; the benchmarks have their own."""
    init_channels: int | Auto = "auto"
    """Channels C of the first cells; auto: the network's."""
    num_cells: int | Auto = "auto"
    """Cells L; auto: the network's."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    seed: int = 0
    """Root seed of parameters, order, augmentation and drop path."""

    epochs: int = 600
    """Passes over the training images; schedules span all of them."""
    batch_size: int = 96
    """Images of one step, on all workers together; an incomplete batch is left out."""
    micro_batch_size: int | Auto = "auto"
    """Images in one forward and backward pass of a worker. Batch norm uses their statistics;
    gradients are accumulated. auto: the worker's share of the batch, or the value that the run
    started with."""
    num_train_images: int | None = None
    """Train on this many images, drawn once, the same for every seed; None: all."""

    holdout: float = 0.0
    """Test on this share of the training images, drawn once, the same for every seed, and train on
    the others; the test images are not read. 0: test on the test images."""

    optimizer: str = "momentum"
    """momentum (SGD), sgd (with Nesterov's momentum), adamw, lamb, ...: timm's names."""
    lr: float = 0.025
    """Learning rate, for the batch of all workers together."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 3e-4
    """Weight decay."""
    decay_norms: bool = True
    """Apply weight decay to biases and batch norm, too."""
    clip_grad: float = 5.0
    """Clip the gradient to this norm; 0: do not clip."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls to --min-lr after the warm-up."""
    schedule_per: Literal["epoch", "step"] = "epoch"
    """Change the learning rate after each epoch or each step."""
    warmup_epochs: int = 0
    """Epochs in which the learning rate rises from --warmup-lr to --lr; they count as epochs of the
    schedule."""
    warmup_lr: float = 0.0
    """Learning rate at the start of the warm-up."""
    min_lr: float = 0.0
    """Learning rate at the end of the schedule."""

    loss: Literal["cross-entropy", "bce"] = "cross-entropy"
    """Loss; bce: binary cross-entropy of every class (timm)."""
    label_smoothing: float = 0.0
    """Share of a label that is spread over all classes."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary tower's loss; 0: no tower. Only networks of DARTS cells have one."""
    drop_path: float = 0.2
    """Final probability of dropping an operation for an image; it rises from 0, epoch by epoch."""
    augment: Literal["none", "crop-flip", "resized-crop"] = "crop-flip"
    """crop-flip: random crop after padding by an eighth of the size, and flip; all images are in
    memory. resized-crop: timm's transforms (random resized crop and flip, and those below); images
    are read when they are needed."""
    cutout: int = 16
    """Side of the square that is cut out of an image, in pixels; crop-flip only."""
    crop_scale: float = 0.08
    """Smallest part of an image that a resized crop shows."""
    color_jitter: tuple[float, ...] = ()
    """Strength of brightness, contrast, saturation and hue; resized-crop only."""
    auto_augment: str = ""
    """timm's AutoAugment or RandAugment, such as rand-m7-mstd0.5-inc1; resized-crop only."""
    random_erasing: float = 0.0
    """Probability of erasing a rectangle; resized-crop only."""
    mixup: float = 0.0
    """α of mixup; 0: none."""
    cutmix: float = 0.0
    """α of CutMix; 0: none."""
    ema_decay: float = 0.0
    """Decay of the moving average of the weights, which is then tested and kept; 0: none."""

    amp: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    """Arithmetic of convolutions; auto: bfloat16 on GPUs, off (float32) on CPUs."""
    sync_bn: bool = False
    """Batch norm over the images of all workers (GPUs only)."""
    dist_bn: Literal["broadcast", "reduce"] = "broadcast"
    """Running statistics that are tested: those of the first worker, or the mean of all."""

    def __post_init__(self) -> None:
        infinite = float("inf")
        whole = {
            "image_size": (8, 4096),
            "seed": (0, 2**63 - 1),
            "epochs": (1, 100_000),
            "batch_size": (2, 1_000_000),
            "warmup_epochs": (0, 100_000),
            "cutout": (0, 4096),
        }
        for name, (low, high) in whole.items():
            _check_range(self, name, low, high)
        for name in ("init_channels", "num_cells", "micro_batch_size"):
            check(self, name, lambda v: v == "auto" or v >= 1, "auto, or at least 1")
        check(self, "num_train_images", lambda v: v is None or v >= 1, "at least 1")
        check(self, "lr", lambda v: 0 < v < infinite, "positive and finite")
        for name in ("weight_decay", "clip_grad", "warmup_lr", "min_lr", "auxiliary_weight"):
            check(self, name, lambda v: 0 <= v < infinite, "at least 0 and finite")
        for name in ("mixup", "cutmix"):
            check(self, name, lambda v: 0 <= v < infinite, "at least 0 and finite")
        for name in ("momentum", "label_smoothing", "drop_path", "ema_decay", "holdout"):
            check(self, name, lambda v: 0 <= v < 1, "at least 0 and below 1")
        check(self, "random_erasing", lambda v: 0 <= v <= 1, "0 to 1")
        check(self, "crop_scale", lambda v: 0 < v <= 1, "above 0 and at most 1")
        check(
            self,
            "color_jitter",
            lambda v: len(v) in (0, 3, 4) and all(0 <= x < infinite for x in v),
            "none, 3 or 4 numbers of at least 0",
        )
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ConfigError(
                f"warmup_epochs is {self.warmup_epochs} and epochs is {self.epochs}; the warm-up "
                "must be shorter than the training"
            )
        if self.augment != "resized-crop":
            for name in ("color_jitter", "auto_augment", "random_erasing"):
                if value := getattr(self, name):
                    raise ConfigError(
                        f"{name} is {value!r}, which needs augment resized-crop, and augment is "
                        f"{self.augment!r}; leave it out, or give --augment resized-crop"
                    )
        if self.augment != "crop-flip" and self.cutout:
            raise ConfigError(
                f"cutout is {self.cutout}, which needs augment crop-flip, and augment is "
                f"{self.augment!r}; give --cutout 0, or --random-erasing"
            )

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that labels are shares of classes."""
        return self.mixup > 0 or self.cutmix > 0


_LEFT_OUT_DEFAULTS = {"holdout": 0.0}
"""Settings that are newer than some trainings -> the value those were made with; with it they are
left out, so that older trainings keep their identity."""


def training_settings(config: TrainingConfig) -> dict[str, Any]:
    """The settings that distinguish one training from another."""
    settings = dataclasses.asdict(config)
    return {
        k: v
        for k, v in settings.items()
        if k not in _LEFT_OUT_DEFAULTS or _LEFT_OUT_DEFAULTS[k] != v
    }


def _check_range(config: TrainingConfig, name: str, low: int, high: int) -> None:
    check(config, name, lambda v: low <= v <= high, f"{low} to {high}")


def check(config: Any, name: str, allowed: Callable[[Any], bool], rule: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: If it is not allowed.
    """
    value = getattr(config, name)
    if not allowed(value):
        raise ConfigError(f"{name} is {value!r}; it must be {rule}")


RECIPES: dict[str, TrainingConfig] = {
    "cifar10": TrainingConfig(),
    "cifar100": TrainingConfig(network="cifar100"),
    "imagenet": TrainingConfig(
        network="imagenet",
        image_size=224,
        epochs=250,
        batch_size=1024,
        micro_batch_size=128,
        lr=0.5,
        weight_decay=3e-5,
        schedule="linear",
        schedule_per="step",
        warmup_epochs=5,
        label_smoothing=0.1,
        drop_path=0.0,
        augment="resized-crop",
        cutout=0,
        color_jitter=(0.4, 0.4, 0.4, 0.2),
    ),
    "imagenet-timm": TrainingConfig(
        network="imagenet",
        image_size=224,
        epochs=300,
        batch_size=2048,
        micro_batch_size=128,
        optimizer="lamb",
        lr=5e-3,
        weight_decay=0.02,
        decay_norms=False,
        clip_grad=1.0,
        schedule_per="step",
        warmup_epochs=5,
        warmup_lr=1e-4,
        min_lr=1e-6,
        loss="bce",
        auxiliary_weight=0.0,
        drop_path=0.0,
        augment="resized-crop",
        cutout=0,
        auto_augment="rand-m7-mstd0.5-inc1",
        random_erasing=0.1,
        mixup=0.1,
        cutmix=1.0,
        ema_decay=0.9998,
        dist_bn="reduce",
    ),
    "quick": TrainingConfig(
        init_channels=8,
        num_cells=5,
        image_size=16,
        epochs=12,
        batch_size=96,
        num_train_images=10_000,
        lr=0.05,
        auxiliary_weight=0.0,
        drop_path=0.0,
        cutout=0,
    ),
}
"""``cifar10``, ``cifar100`` and ``imagenet`` are the paper's (App. B.4). What it leaves open is
DARTS's: the norm of the gradient, and on ImageNet the augmentation and no drop path.
``imagenet-timm`` follows recipe A2 of "ResNet strikes back" (Wightman et al. 2021, Table 2), with
random erasing and a moving average in place of repeated augmentation and stochastic depth.
``quick`` tells cells apart in minutes on a CPU."""
