"""One machine with a GPU: are the search's results right there, and how fast is everything?

    python -m benchmarks.gpu [--tiny] [--device cuda] [--num-samples 24] [--limit-s 450]

Needs no Ray. α* of the paper's search (DARTS supernet, C=16, 8 cells, b=64, random data) on the
GPU against the CPU, and twice on the GPU; time and memory of the exact gradient against double
backward; images/s and memory of a training step of DARTS_V2 (C=36, 20 cells, b=96, 32 px, with
auxiliary tower, drop path and gradient clipping) in float32 and bfloat16, channels-last and
compiled. Every kind of step is a process of its own, which is ended when the time is used up.
--tiny takes small networks, so that the script can be tried on a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.measure import report
from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig, SampleConfig
from nasi_ray.device import prepare_process
from nasi_ray.nasi.estimator import estimate
from nasi_ray.nasi.evaluator import Evaluator, SubNetworks, same_sample
from nasi_ray.nasi.loss import cross_entropy
from nasi_ray.nasi.reference import trace_norm_and_alpha_gradient
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.training.model import ModelConfig, build_model

V2 = """Genotype(
    normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
            ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
    normal_concat=[2, 3, 4, 5],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
            ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
    reduce_concat=[2, 3, 4, 5])"""
"""DARTS_V2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large everything is."""

    sample: SampleConfig
    model: ModelConfig
    batch_size: int
    num_steps: int
    num_gradients: int
    backend: str
    """Of ``torch.compile``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A kind of training step."""

    is_bfloat16: bool = False
    is_channels_last: bool = False
    is_compiled: bool = False


STEPS = {
    "float32": Step(),
    "float32, channels-last": Step(is_channels_last=True),
    "bfloat16": Step(is_bfloat16=True),
    "bfloat16, channels-last": Step(is_bfloat16=True, is_channels_last=True),
    "bfloat16, channels-last, compiled": Step(
        is_bfloat16=True, is_channels_last=True, is_compiled=True
    ),
}


def size_of(tiny: bool) -> Size:
    """The sizes of a GPU, or those of a trial."""
    channels, cells, pixels = (2, 3, 8) if tiny else (36, 20, 32)
    model = ModelConfig(
        space="darts",
        architecture=V2,
        network="cifar10",
        init_channels=channels,
        num_cells=cells,
        num_classes=10,
        image_size=pixels,
        auxiliary=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    small = SampleConfig(batch_size=4, image_size=8, init_channels=2, num_cells=3)
    return Size(
        sample=small if tiny else SampleConfig(),
        model=model,
        batch_size=8 if tiny else 96,
        num_steps=3 if tiny else 30,
        num_gradients=2 if tiny else 5,
        backend="aot_eager" if tiny else "inductor",
    )


def search(config: SampleConfig, device: str, num_samples: int) -> tuple[list[Sample], float]:
    """The samples of a search, and samples/s without the first."""
    evaluate = Evaluator(SubNetworks(config, None, device=device))
    evaluate(num_samples)
    start = time.perf_counter()
    samples = [evaluate(index) for index in range(num_samples)]
    return samples, num_samples / (time.perf_counter() - start)


def alpha(samples: Sequence[Sample]) -> FloatArray:
    """α* of eq. 18, without the limit ν: a sample near ν could be on either side of it."""
    table = SampleTable.from_samples(samples, len(samples[0].grad))
    return estimate(table, EstimateConfig(num_samples=len(samples), mu=0.0)).alpha


def compare_searches(size: Size, device: str, num_samples: int) -> dict[str, Any]:
    """The search on the device against itself and against the CPU."""
    on_cpu, cpu_rate = search(size.sample, "cpu", num_samples)
    first, rate = search(size.sample, device, num_samples)
    again, _ = search(size.sample, device, num_samples)
    difference = float(np.linalg.norm(alpha(first) - alpha(on_cpu)) / np.linalg.norm(alpha(on_cpu)))
    return {
        "alpha_difference": difference,
        "trace_norm_difference": max(
            abs(a.trace_norm / b.trace_norm - 1) for a, b in zip(first, on_cpu, strict=True)
        ),
        "is_repeatable": all(map(same_sample, first, again))
        and bool(np.array_equal(alpha(first), alpha(again))),
        "samples_per_s": rate,
        "cpu_samples_per_s": cpu_rate,
        "num_samples": num_samples,
    }


def compare_gradients(size: Size, device: str) -> dict[str, Any]:
    """Seconds and peak memory of the exact gradient, ours and by double backward, in turn."""
    networks = SubNetworks(size.sample, None, device=device)
    evaluate = Evaluator(networks)

    def ours(index: int) -> FloatArray:
        return evaluate(index).grad

    def reference(index: int) -> FloatArray:
        architecture, x, y = networks.at(index)
        _, gradient = trace_norm_and_alpha_gradient(
            networks.net, x, y, loss=cross_entropy, architecture=architecture
        )
        return gradient.double().cpu().numpy()

    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    memory, found = {}, {}
    for index in range(size.num_gradients + 1):
        for name, method in (("ours", ours), ("reference", reference)):
            taken, memory[name], found[name] = measured(partial(method, index), device)
            seconds[name] += [taken] if index else []  # the first one warms up
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["reference"], strict=True)]
    return {
        "gradient_s": statistics.median(seconds["ours"]),
        "gradient_reference_s": statistics.median(seconds["reference"]),
        "gradient_ratio": statistics.median(ratios),
        "gradient_mib": memory["ours"],
        "gradient_reference_mib": memory["reference"],
        "gradient_difference": float(
            np.linalg.norm(found["ours"] - found["reference"]) / np.linalg.norm(found["reference"])
        ),
    }


def measured(run: Callable[[], Any], device: str) -> tuple[float, float | None, Any]:
    """Seconds, peak memory of the GPU in MiB (None on a CPU), and the result."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = run()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    return seconds, peak, result


def train(size: Size, step: Step, device: str) -> dict[str, Any]:
    """images/s and peak memory of one kind of training step; the first steps are left out."""
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if step.is_channels_last else torch.contiguous_format
    net: Any = build_model(size.model).to(device).to(memory_format=layout).train()
    net.drop_path_prob = 0.2
    model: Any = torch.compile(net, backend=size.backend) if step.is_compiled else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    pixels = size.model.image_size
    x = torch.randn((size.batch_size, 3, pixels, pixels), device=device)
    x, y = x.contiguous(memory_format=layout), torch.arange(len(x), device=device) % 10

    def one() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=step.is_bfloat16):
            logits, auxiliary = model(x)
        loss = F.cross_entropy(logits.float(), y) + 0.4 * F.cross_entropy(auxiliary.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()

    first, _, _ = measured(one, device)
    measured(one, device)

    def many() -> None:
        for _ in range(size.num_steps):
            one()

    seconds, peak, _ = measured(many, device)
    rate = size.num_steps * size.batch_size / seconds
    return {"images_per_s": rate, "peak_mib": peak, "first_step_s": first}


def train_in_child(name: str, args: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """``train`` in a process of its own; an error or the end of the time is reported."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--child", name, "--device", args.device]
    if limit_s <= 0:
        return {"failure": "no time was left"}
    try:
        done = subprocess.run(
            command + ["--tiny"] * args.tiny,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"not done in the {limit_s:.0f} s that were left"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        return {"failure": lines[-1][:200]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rows_of(figures: dict[str, Any], steps: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """The table."""

    def mib(value: float | None) -> str:
        return "" if value is None else f", {value:.0f} MiB"

    return [
        ("α*, device against CPU, relative difference", f"{figures['alpha_difference']:.1e}"),
        ("e, the same, largest of all samples", f"{figures['trace_norm_difference']:.1e}"),
        ("two searches equal bit for bit", "yes" if figures["is_repeatable"] else "NO"),
        ("samples/s, device", f"{figures['samples_per_s']:.2f}"),
        ("samples/s, CPU", f"{figures['cpu_samples_per_s']:.2f}"),
        ("exact gradient, s", f"{figures['gradient_s']:.3f}{mib(figures['gradient_mib'])}"),
        (
            "by double backward, s",
            f"{figures['gradient_reference_s']:.3f}{mib(figures['gradient_reference_mib'])}",
        ),
        ("double backward / ours, time", f"{figures['gradient_ratio']:.2f}"),
        ("their relative difference", f"{figures['gradient_difference']:.1e}"),
        *(
            (
                f"training, {name}, images/s",
                step.get("failure")
                or f"{step['images_per_s']:.0f}{mib(step['peak_mib'])}, first step "
                f"{step['first_step_s']:.1f} s",
            )
            for name, step in steps.items()
        ),
    ]


def main() -> None:
    """Run everything and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--num-samples", type=int, default=24)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--limit-s", type=float, default=450)
    parser.add_argument("--child", choices=STEPS)
    args = parser.parse_args()
    size = size_of(args.tiny)
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; use --device cpu --tiny to try the script")
    if args.child:
        print(json.dumps(train(size, STEPS[args.child], args.device)))
        return
    start = time.perf_counter()
    prepare_process(args.device, args.threads)
    figures = compare_searches(size, args.device, args.num_samples)
    figures |= compare_gradients(size, args.device)
    if args.device == "cuda":
        torch.cuda.empty_cache()
    steps = {}
    for name in STEPS:
        steps[name] = train_in_child(name, args, start + args.limit_s - time.perf_counter())
    card = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    figures |= {"steps": steps, "device": card, "seconds": time.perf_counter() - start}
    title = f"{card}, {figures['seconds']:.0f} s"
    report(f"{title}, tiny sizes" if args.tiny else title, rows_of(figures, steps), figures)


if __name__ == "__main__":
    main()
