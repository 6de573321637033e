"""(config, index) -> Sample: one Monte-Carlo term, a pure function of the two."""

from __future__ import annotations

import os
import socket
import time
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nasi_ray.arrays import FloatArray
from nasi_ray.config import SampleConfig
from nasi_ray.data.batches import make_batches
from nasi_ray.data.fitted import FittedImages
from nasi_ray.device import DTYPES, device_kind, resolve_device
from nasi_ray.nasi.gradient import trace_norm_and_gradient
from nasi_ray.nasi.gumbel import Architecture, sample_architecture
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.by_space import networks_of
from nasi_ray.networks.initialization import ParameterDraw, build
from nasi_ray.records.rows import MAX_MAGNITUDE, Sample
from nasi_ray.seeding import generator, torch_seed
from nasi_ray.spaces import get_space


class SubNetworks:
    """Holds the supernet and the data; maps an index to its sub-network and batch."""

    def __init__(
        self, config: SampleConfig, images: FittedImages | None, *, device: str, worker: str = ""
    ) -> None:
        self.config = config
        self.space = get_space(config.space)
        self.loss = LOSSES[config.loss]
        self.batches = make_batches(config, images)
        self._device = resolve_device(device)
        kind = device_kind(self._device)
        self.worker = worker or f"{socket.gethostname()}/{os.getpid()}/{kind}"
        networks = networks_of(self.space)
        num_cells = self.space.resolve_num_cells(config.num_cells)
        self._cell_types = networks.cell_types(num_cells)
        net = build(
            partial(
                networks.supernet,
                init_channels=config.init_channels,
                num_cells=num_cells,
                num_classes=self.batches.num_classes,
            ),
            seed=torch_seed(config.seed, "weights"),
            dtype=DTYPES[config.dtype],
            init=config.init,
            batch_norm=config.batch_norm,
        )
        self.net = net.to(self._device).to(memory_format=torch.channels_last)
        self._draw = ParameterDraw(self.net, config.init)

    def architecture(self, index: int) -> Architecture:
        """A_t: the architecture of sample ``index`` (≥ 0)."""
        return sample_architecture(
            self.space,
            self._cell_types,
            generator(self.config.seed, "gumbel", index),
            sample_per=self.config.sample_per,
            temperature=self.config.temperature,
        )

    def at(self, index: int) -> tuple[Architecture, Tensor, Tensor]:
        """Set θ0 as sample ``index`` (≥ 0) has it; A_t, and its images and labels."""
        if self.config.init_per == "sample":
            self._draw(torch_seed(self.config.seed, "weights", index))
        x, y = self.batches.batch(index)
        x = x.to(self._device, DTYPES[self.config.dtype])
        x = x.contiguous(memory_format=torch.channels_last)
        return self.architecture(index), x, y.to(self._device)


class Evaluator:
    """Maps an index to its sample: e and the straight-through gradient."""

    def __init__(self, networks: SubNetworks) -> None:
        self._networks = networks

    def __call__(self, index: int) -> Sample:
        """Evaluate sample ``index`` (≥ 0).

        Returns:
            The sample; status ``failed`` if e or its gradient is not finite or too large to be
            squared.
        """
        start = time.perf_counter()
        architecture, x, y = self._networks.at(index)
        e, h = trace_norm_and_gradient(
            self._networks.net, x, y, loss=self._networks.loss, chosen=architecture.at
        )
        trace_norm = float(e)
        grad = architecture.straight_through({at: g.cpu().numpy() for at, g in h.items()})
        return self._record(
            index, architecture, trace_norm, grad, seconds=time.perf_counter() - start
        )

    def _record(
        self,
        index: int,
        architecture: Architecture,
        trace_norm: float,
        grad: FloatArray,
        *,
        seconds: float,
    ) -> Sample:
        error = ""
        if not (abs(trace_norm) <= MAX_MAGNITUDE and (abs(grad) <= MAX_MAGNITUDE).all()):
            error = (
                f"trace norm {trace_norm} of sample {index} or its gradient is not finite, or "
                f"beyond {MAX_MAGNITUDE:g}; "
                f"choices {architecture.choices.tolist()}"
            )
            trace_norm, grad = float("nan"), np.full_like(grad, np.nan)
        return Sample(
            index=index,
            status="failed" if error else "ok",
            trace_norm=trace_norm,
            grad=grad,
            choices=architecture.choices,
            error=error,
            seconds=seconds,
            worker=self._networks.worker,
            ended=time.time(),
        )


def lost_sample(space: str, index: int, reason: str) -> Sample:
    """The record of a sample that no attempt completed."""
    return Sample(
        index=index,
        status="lost",
        trace_norm=float("nan"),
        grad=np.full(get_space(space).num_logits, np.nan),
        choices=np.array([], dtype=np.int64),
        error=reason,
    )


def same_sample(first: Sample, second: Sample) -> bool:
    """Whether two evaluations of an index agree bit for bit."""
    return (
        first.index == second.index
        and first.status == second.status
        and np.array_equal([first.trace_norm], [second.trace_norm], equal_nan=True)
        and np.array_equal(first.grad, second.grad, equal_nan=True)
        and np.array_equal(first.choices, second.choices)
    )
