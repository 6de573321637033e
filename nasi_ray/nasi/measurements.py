"""(config, index) -> Measurement: what one pass through a sampled sub-network tells; no labels.

f are the logits of the sampled sub-network on the sample's batch, shape (b, K), and
F = Σ_ik v_ik f_ik with independent signs v_ik. As E[v vᵀ] = 1, the mean over v of ‖∇_θ F‖² is
Σ_x ‖∇_θ f(x)‖²_F, the exact trace norm of the NTK (eq. 9), for one backward pass.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from nasi_ray.arrays import FloatArray
from nasi_ray.config import PATH_MEASUREMENTS
from nasi_ray.nasi.evaluator import SubNetworks
from nasi_ray.networks.by_space import Chosen
from nasi_ray.networks.mixture import PathMixer
from nasi_ray.networks.relu_codes import code_kernel, log_determinant, relu_codes
from nasi_ray.records.rows import Measurement
from nasi_ray.seeding import generator

MIN_VARIANCE = 1e-10
"""Below this variance of the logits no image reaches them: the sub-network is cut off."""


class PathMeasurer:
    """Measures sub-networks of a supernet.

    Args:
        net: Called as ``net(x, mixer)``; gets a hook for each layer.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._params = list(net.parameters())
        self._multiply_adds = 0
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            per_unit = module.in_channels // module.groups * math.prod(module.kernel_size)
        else:
            per_unit = inputs[0].shape[-1]
        self._multiply_adds += output[0].numel() * per_unit

    def __call__(self, x: Tensor, signs: Tensor, *, chosen: Chosen) -> dict[str, float | None]:
        """Measure one sub-network with one forward and one backward pass.

        Args:
            x: Images, shape (batch, channels, height, width).
            signs: v, of ±1, shape (batch, classes).
            chosen: The architecture.

        Returns:
            Name of ``PATH_MEASUREMENTS`` -> value, None for a NASWOT that is not defined (images
            with dependent codes). All are None if the logits do not depend on the images.
        """
        self._multiply_adds = 0
        logits = self._net(x, PathMixer(chosen))
        f = logits.detach().double()
        variance = float((f - f.mean(dim=0)).square().mean())
        if variance <= MIN_VARIANCE:
            return dict.fromkeys(PATH_MEASUREMENTS)
        codes = relu_codes(logits)
        grads = torch.autograd.grad((signs * logits).sum(), self._params, allow_unused=True)
        path = [(p, g) for p, g in zip(self._params, grads, strict=True) if g is not None]
        of_parameters, of_gradients = _squared_norms(path)
        return {
            "ntk_trace_estimate": float(of_gradients.sum()),
            "relative_trace_norm": float((of_parameters * of_gradients).sum()),
            "logit_variance": variance,
            "naswot": log_determinant(code_kernel(codes)) if codes else None,
            "path_params": float(sum(p.numel() for p, _ in path)),
            "path_multiply_adds": float(self._multiply_adds),
            "relu_units": float(sum(code.shape[1] for code in codes)),
        }


def _squared_norms(path: Sequence[tuple[Tensor, Tensor]]) -> FloatArray:
    """‖p‖² and ‖∂F/∂p‖² of each parameter tensor, shape (2, tensors)."""
    rows = [torch.cat([t.detach().reshape(-1) for t in side]) for side in zip(*path, strict=True)]
    squares = torch.stack(rows).double().square().cpu().numpy()
    starts = np.cumsum([0, *(p.numel() for p, _ in path[:-1])])
    sums: FloatArray = np.add.reduceat(squares, starts, axis=1)
    return sums


class PathEvaluator:
    """Maps an index to the path measurements of its sample."""

    def __init__(self, networks: SubNetworks) -> None:
        self._networks = networks
        self._measure = PathMeasurer(networks.net)

    def __call__(self, index: int) -> Measurement:
        """Measure sample ``index`` (≥ 0).

        Returns:
            The measurements, all None if the logits do not depend on the images; status ``failed``
            if a number is not finite.
        """
        start = time.perf_counter()
        networks = self._networks
        architecture, x, _ = networks.at(index)
        shape = (len(x), networks.batches.num_classes)
        bits = generator(networks.config.seed, "projection", index).integers(2, size=shape)
        signs = torch.from_numpy(2 * bits - 1).to(x)
        found = self._measure(x, signs, chosen=architecture.at)
        bad = [f"{name} {v}" for name, v in found.items() if v is not None and not np.isfinite(v)]
        error = f"not finite: {', '.join(bad)}" if bad else ""
        return Measurement(
            index=index,
            status="failed" if error else "ok",
            values={} if error else found,
            choices=architecture.choices,
            error=error,
            seconds=time.perf_counter() - start,
            worker=networks.worker,
            ended=time.time(),
        )


def lost_measurement(index: int, reason: str) -> Measurement:
    """The record of measurements that no attempt completed."""
    return Measurement(
        index=index,
        status="lost",
        values={},
        choices=np.array([], dtype=np.int64),
        error=reason,
    )


def same_measurement(first: Measurement, second: Measurement) -> bool:
    """Whether two evaluations of an index agree bit for bit."""
    return (first.index, first.status, first.values, first.choices.tolist()) == (
        second.index,
        second.status,
        second.values,
        second.choices.tolist(),
    )
