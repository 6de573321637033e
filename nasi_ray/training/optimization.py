"""Optimizer, learning rate and loss of a recipe, from timm and torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.data.mixup import Mixup
from timm.loss.binary_cross_entropy import BinaryCrossEntropy
from timm.loss.cross_entropy import SoftTargetCrossEntropy
from timm.optim._optim_factory import create_optimizer_v2, list_optimizers
from timm.scheduler.scheduler_factory import create_scheduler_v2
from torch import Tensor, nn

from nasi_ray.display.formats import one_line
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.training.recipes import TrainingConfig

Criterion = Callable[[Tensor, Tensor], Tensor]


def refuse_bad_optimizer(config: TrainingConfig) -> None:
    """Refuse an optimizer that timm does not know, or cannot make here.

    Raises:
        UnknownNameError: If its name is not known.
        ConfigError: If it lacks a package or a device, or refuses its settings.
    """
    if config.optimizer not in (names := [str(known) for known in list_optimizers()]):
        raise UnknownNameError("optimizer", config.optimizer, names)
    try:
        make_optimizer(nn.Linear(1, 1), config)
    except Exception as error:  # of another's code
        raise ConfigError(
            f"optimizer {config.optimizer} cannot be made here: "
            f"{one_line(str(error)) or type(error).__name__}; give another --optimizer, or change "
            "its settings (--lr, --momentum, --weight-decay)"
        ) from error


def make_optimizer(net: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Make timm's optimizer of that name."""
    return create_optimizer_v2(
        net,
        opt=config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        filter_bias_and_bn=not config.decay_norms,
    )


class Schedule:
    """Sets the learning rate; it depends on the step alone, so there is nothing to save."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, config: TrainingConfig, steps_per_epoch: int
    ) -> None:
        self._steps_per_epoch = steps_per_epoch
        self._by_epoch = config.schedule_per == "epoch"
        length = config.epochs - config.warmup_epochs
        # Over a single value there is nothing to fall; timm warns of it.
        is_flat = length * (1 if self._by_epoch else steps_per_epoch) == 1
        name = {"linear": "poly"}.get(config.schedule, config.schedule)
        self._scheduler, _ = create_scheduler_v2(
            optimizer,
            sched="constant" if is_flat else name,
            num_epochs=length,
            decay_rate=1.0,  # the power of poly: a straight line
            min_lr=config.min_lr,
            warmup_lr=config.warmup_lr,
            warmup_epochs=config.warmup_epochs,
            warmup_prefix=True,  # the schedule begins at its top when the warm-up ends
            step_on_epochs=self._by_epoch,
            updates_per_epoch=steps_per_epoch,
        )

    def set(self, step: int) -> None:
        """Set the learning rate of a step, counted from 0 over all epochs."""
        if self._by_epoch:
            self._scheduler.step(step // self._steps_per_epoch)
        else:
            self._scheduler.step_update(step)


def make_mixup(config: TrainingConfig, num_classes: int) -> Mixup | None:
    """Make timm's mixup and CutMix; it draws from NumPy's global generator."""
    if not config.mixes:
        return None
    return Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        label_smoothing=config.label_smoothing,
        num_classes=num_classes,
    )


def make_criterion(config: TrainingConfig) -> Criterion:
    """The mean loss, of logits, shape (batch, classes), and labels, shape (batch,).

    Of mixed images the labels are shares of classes, shape (batch, classes).
    """
    if config.loss == "bce":
        smoothing = 0.0 if config.mixes else config.label_smoothing
        made: Any = BinaryCrossEntropy(smoothing=smoothing)
    elif config.mixes:
        made = SoftTargetCrossEntropy()
    else:
        made = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    criterion: Criterion = made
    return criterion
