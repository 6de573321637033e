"""What a score is made with: the identity of a ranking's records."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from nasi_ray.config import Auto, SampleConfig
from nasi_ray.errors import ConfigError
from nasi_ray.ranking.architectures import get_ranked_space
from nasi_ray.spaces.nb1shot1 import NB1Shot1Space

SIZE_PROXIES = ("num_params", "multiply_adds")
"""Baselines of every ranking. They depend on no seed: their records are those of seed 0."""

_MAX_CHANNELS = 4096

MAX_SEED = 10**8
"""A record's index, and a worker's handle of it, must fit 63 bits in the largest space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankConfig:
    """How architectures are scored; a change of any of these makes other scores."""

    space: str = "s1"
    """Space: s1 | s2 | s3 | nb201."""
    data: str = "random"
    """random | a Parquet data set (directory or file) | an image folder (class/file) |
    CIFAR10 | CIFAR100."""
    labels: Literal["auto", "true", "random", "permuted"] = "auto"
    """Labels of the batch; auto: true ones where the data has them, else random."""
    batch_size: int = 64
    """Images of the batch; all architectures see the same one of a seed."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    num_classes: int = 10
    """Classes of random data; real data sets bring their own."""
    network: Literal["standalone", "supernet"] = "standalone"
    """What is scored: the benchmark's own network of the architecture, or its sub-network of the
    space's supernet (where all architectures share the parameters of a seed)."""
    num_channels: int | Auto = "auto"
    """Channels of the network's first cells; auto: the benchmark's own (128 for s1 to s3, 16 for
    nb201) or the supernet's 16."""
    num_cells: int | Auto = "auto"
    """Cells of the supernet; auto: 9 for s1 to s3, 15 for nb201."""
    init: Literal["default", "kaiming", "xavier"] = "default"
    """Initial parameters: PyTorch's default, Kaiming or Xavier normal. (Proxies that are sums over
    weights are not defined for the NTK parameterisation.)"""
    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    """Loss of the proxies that need one; mse is against one-hot labels."""
    dtype: Literal["float32", "float64"] = "float32"
    """Arithmetic of the evaluation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where scores are evaluated; auto: cuda where workers hold GPUs, else cpu."""

    def __post_init__(self) -> None:
        space = get_ranked_space(self.space)
        if self.num_channels != "auto" and not 1 <= self.num_channels <= _MAX_CHANNELS:
            raise ConfigError(
                f"num_channels is {self.num_channels}; it must be auto, or 1 to {_MAX_CHANNELS}"
            )
        self.sample_config(0)  # checks the other ranges
        if self.network == "standalone" and self.num_cells != "auto":
            raise ConfigError(
                f"num_cells is {self.num_cells}, but the benchmark fixes the cells of a "
                "stand-alone network; leave it out, or use --network supernet"
            )
        needed = space.num_parents[-1] if isinstance(space, NB1Shot1Space) else 1
        if self.network == "standalone" and self.resolved_channels < needed:
            raise ConfigError(
                f"num_channels is {self.num_channels}; cells of {self.space} concatenate {needed} "
                f"vertices and need at least {needed}"
            )

    @property
    def resolved_channels(self) -> int:
        """``num_channels``, or what auto stands for."""
        if self.num_channels != "auto":
            return self.num_channels
        return 128 if self.network == "standalone" and self.space != "nb201" else 16

    def sample_config(self, seed: int) -> SampleConfig:
        """The settings of batches and supernet at one seed."""
        shared = {field.name for field in dataclasses.fields(SampleConfig)}
        settings: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in shared
        }
        return SampleConfig(**settings, seed=seed, init_channels=self.resolved_channels)
