"""Exact gradient: CPU time and peak memory of double backward against the sampled path.

    python benchmarks/gradient.py [--pairs 5]

DARTS supernet, C=16, 8 cells, b=64, one CPU thread, random data. Every run is a process of its
own, runs alternate, and all evaluate the same samples. The reference differentiates twice through
the whole one-shot network with respect to all parameters; "path" is the same with the parameters
off the sampled path left out beforehand, a shortcut only the analysis of our method justifies.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from benchmarks.measure import peak_mib, report, run_child, spread
from nasi_ray.config import SampleConfig
from nasi_ray.data.batches import make_batches
from nasi_ray.device import prepare_process
from nasi_ray.nasi.evaluator import Evaluator, SubNetworks
from nasi_ray.nasi.loss import cross_entropy
from nasi_ray.nasi.reference import trace_norm_and_alpha_gradient

METHODS = ("ours", "reference", "path")
NUM_SAMPLES = 4


def evaluate(method: str, networks: SubNetworks, index: int) -> torch.Tensor:
    """∇_α e of one sample, by one of the methods."""
    if method == "ours":
        return torch.from_numpy(Evaluator(networks)(index).grad)
    x, y = make_batches(SampleConfig(), None).batch(index)
    _, gradient = trace_norm_and_alpha_gradient(
        networks.net,
        x.contiguous(memory_format=torch.channels_last),
        y,
        loss=cross_entropy,
        architecture=networks.architecture(index),
        sampled_parameters_only=method == "path",
    )
    return gradient.double()


def child(method: str) -> None:
    """Evaluate a warm-up sample and the counted ones; print seconds, memory and gradients."""
    prepare_process("cpu", 1)
    networks = SubNetworks(SampleConfig(), None, device="cpu")
    base = peak_mib()
    evaluate(method, networks, NUM_SAMPLES)
    seconds, gradients = [], []
    for index in range(NUM_SAMPLES):
        start = time.process_time()
        gradient = evaluate(method, networks, index)
        seconds.append(time.process_time() - start)
        gradients.append(gradient.tolist())
    print(
        json.dumps({"seconds": seconds, "peak": peak_mib(), "base": base, "gradients": gradients})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--child", choices=METHODS)
    args = parser.parse_args()
    if args.child:
        return child(args.child)
    runs = [{m: run_child(__file__, "--child", m) for m in METHODS} for _ in range(args.pairs)]
    cpu = {m: [statistics.mean(run[m]["seconds"]) for run in runs] for m in METHODS}
    ratio = {m: [a / b for a, b in zip(cpu[m], cpu["ours"], strict=True)] for m in METHODS}
    memory = {m: [run["ours"]["peak"] / run[m]["peak"] for run in runs] for m in METHODS}
    net_of_base = [
        (run["ours"]["peak"] - run["ours"]["base"])
        / (run["reference"]["peak"] - run["reference"]["base"])
        for run in runs
    ]
    ours = torch.tensor(runs[0]["ours"]["gradients"], dtype=torch.float64)
    theirs = torch.tensor(runs[0]["reference"]["gradients"], dtype=torch.float64)
    difference = float(((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max())
    rows = [(f"{m}: CPU s per sample", spread(cpu[m])) for m in METHODS]
    rows += [(f"{m}: peak MiB", spread([run[m]["peak"] for run in runs], 0)) for m in METHODS]
    rows += [
        ("CPU time, reference / ours", spread(ratio["reference"])),
        ("CPU time, path / ours", spread(ratio["path"])),
        ("peak memory, ours / reference", spread(memory["reference"])),
        ("the same, net of the loaded program", spread(net_of_base)),
        ("peak memory, ours / path", spread(memory["path"])),
        ("largest relative difference (float32)", f"{difference:.1e}"),
    ]
    figures = {
        "cpu_ratio": statistics.median(ratio["reference"]),
        "cpu_ratio_path": statistics.median(ratio["path"]),
        "memory_ratio": statistics.median(memory["reference"]),
        "memory_ratio_net": statistics.median(net_of_base),
        "cpu_s_per_sample": statistics.median(cpu["ours"]),
        "max_relative_difference": difference,
        "pairs": args.pairs,
    }
    report(f"Exact gradient, {args.pairs} alternating runs, median (range)", rows, figures)


if __name__ == "__main__":
    main()
