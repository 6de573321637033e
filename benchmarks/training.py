"""The training step against a plain loop; two workers against one; the cost of a killed worker.

    python -m benchmarks.training [--pairs 6] [--steps 3] [--no-workers]

Blocks of steps of both loops alternate in one process and thread, and the ratio is the median over
pairs of CPU time. The plain loop is what one would write by hand over the same network, images and
augmentation functions, with neither our loader nor our bookkeeping.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nasi_ray.data.batches import crop_and_flip, normalise
from nasi_ray.data.image_set import ImageSet
from nasi_ray.spaces import Genotype
from nasi_ray.storage import LocalStorage
from nasi_ray.training.images import TrainImages, random_images
from nasi_ray.training.link import LocalLink
from nasi_ray.training.loader import cut_out
from nasi_ray.training.loop import Trainer, TrainPlan
from nasi_ray.training.metrics import read_metrics
from nasi_ray.training.model import build_model
from nasi_ray.training.plan import model_config
from nasi_ray.training.settings import TrainJob, make_train_job
from nasi_ray.training.world import World

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)
CPU = torch.device("cpu")


class _Quiet:
    def update(self, state: object) -> None: ...

    def message(self, text: str) -> None: ...

    def close(self) -> None: ...


def make_plan(job: TrainJob, out: str) -> TrainPlan:
    images = TrainImages(
        train=random_images(32, "train"), test=random_images(32, "test"), chosen=None
    )
    return TrainPlan(
        uri=out,
        model=model_config(job.training, images, "darts", Genotype.parse(DARTS_V2)),
        training=job.training,
        micro_batch_size=job.training.batch_size,
        images=images,
        threads=1,
        device="cpu",
        loader_processes=0,
        compile=False,
        checkpoint_steps=0,
        keep_checkpoints=1,
    )


def our_steps(plan: TrainPlan) -> Callable[[int], None]:
    trainer = Trainer(plan, World(rank=0, size=1, device=CPU), LocalLink(_Quiet()))
    trainer._state.wrap()
    trainer._meter.begin(0)
    trainer._meter.begin_epoch(0, [])
    trainer._state.net.train()
    batches = trainer._loader.train(0, 0)
    done = 0

    def run(count: int) -> None:
        nonlocal done
        for _ in range(count):
            trainer._step(done, batches)
            done += 1
            trainer._after_step(done)

    return run


def plain_steps(plan: TrainPlan) -> Callable[[int], None]:
    config, images = plan.training, plan.images.train
    assert isinstance(images, ImageSet)
    layout = torch.channels_last
    net = build_model(plan.model, seed=1).to(memory_format=layout).train()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        net.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    batch, size, padding = config.batch_size, config.image_size, config.image_size // 8
    done = 0

    def run(count: int) -> None:
        nonlocal done
        for _ in range(count):
            rows = order[done * batch : (done + 1) * batch]
            offsets = rng.integers(2 * padding + 1, size=(2, batch))
            pixels = crop_and_flip(
                images.images[rows], offsets, rng.integers(2, size=batch), padding
            )
            x = normalise(pixels, images.mean, images.std)
            cut_out(x, rng.integers(size, size=(2, batch)), config.cutout)
            optimizer.zero_grad()
            y = torch.from_numpy(images.labels[rows])
            logits, auxiliary = net(torch.from_numpy(x).contiguous(memory_format=layout))
            loss = criterion(logits, y) + config.auxiliary_weight * criterion(auxiliary, y)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), config.clip_grad)
            optimizer.step()
            done += 1

    return run


def compare(pairs: int, steps: int) -> None:
    torch.set_num_threads(1)
    job = make_train_job(
        {"recipe": "cifar10", "genotype": DARTS_V2, "init_channels": 16, "num_cells": 8}
    )
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(job, folder)
        loops = {"ours": our_steps(plan), "plain": plain_steps(plan)}
        for run in loops.values():
            run(1)  # warm up
        cpu: dict[str, list[float]] = {name: [] for name in loops}
        for pair in range(pairs):
            for name in list(loops)[:: 1 if pair % 2 else -1]:
                start = time.process_time()
                loops[name](steps)
                cpu[name].append((time.process_time() - start) / steps)
    ratios = [plain / ours for plain, ours in zip(cpu["plain"], cpu["ours"], strict=True)]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    for name, seconds in cpu.items():
        rate = job.training.batch_size / statistics.median(seconds)
        print(f"{name:>6}: {rate:.1f} images per CPU second (DARTS_V2, C=16, 8 cells, b=96)")
    print(f"ours / plain: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {pairs} pairs)")


ARGS = (
    "--recipe", "quick", "--genotype", DARTS_V2, "--epochs", "2", "--num-train-images", "1920",
    "--micro-batch-size", "48", "--checkpoint-steps", "5",
)  # fmt: skip


def start(out: Path, num_workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nasi_ray", "train", *ARGS, "--out", str(out)]
    return subprocess.Popen(
        [*command, "--num-workers", str(num_workers)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def measure(out: Path, num_workers: int, *, kill: bool = False) -> tuple[float, float, float]:
    """Wall seconds of the command, seconds to the first step, images/s of the last epoch."""
    began = time.time()
    process = start(out, num_workers)
    while kill and not any(out.glob("checkpoints/step-00000002*")):
        time.sleep(0.1)
    if kill:
        os.kill(worker(process.pid), signal.SIGKILL)
    if process.wait() != 0:
        raise SystemExit(f"the training ended with status {process.returncode}")
    wall, rows = time.time() - began, read_metrics(LocalStorage(str(out)))
    return wall, rows[0]["time"] - rows[0]["seconds"] - began, rows[-1]["images_per_second"]


def worker(driver: int) -> int:
    """A worker of Ray Train among the descendants of a driver."""
    found = subprocess.check_output(["ps", "-eo", "pid=,ppid=,args="], text=True)
    rows = [line.split(None, 2) for line in found.splitlines()]
    family = {driver}
    for _ in range(6):
        family |= {int(pid) for pid, parent, _ in rows if int(parent) in family}
    return next(
        int(pid) for pid, _, args in rows if int(pid) in family and "RayTrainWorker" in args
    )


def compare_workers() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, first_here, one = measure(folder / "one", 0)
        wall, first_ray, two = measure(folder / "two", 2)
        killed, _, _ = measure(folder / "killed", 2, kill=True)
    print(f"two workers: {two:.0f} images/s, {two / one / 2:.2f} of twice the {one:.0f} of one")
    print(f"seconds from the command to the first step: {first_here:.1f}; on Ray {first_ray:.1f}")
    print(f"a killed worker: {killed - wall:.1f} s more than {wall:.1f} s, at most 5 steps again")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--no-workers", action="store_true", help="the loops alone")
    args = parser.parse_args()
    if args.pairs * args.steps + 1 > 2048 // 96:
        parser.error("an epoch has 21 steps; give fewer --pairs or --steps")
    if args.pairs:
        compare(args.pairs, args.steps)
    if not args.no_workers:
        compare_workers()


if __name__ == "__main__":
    main()
