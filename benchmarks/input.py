"""Reading images for training: our lazy sets against a bare torchvision ``ImageFolder``.

    python -m benchmarks.input [--data ../shared/data/imagenet-sample] [--pairs 5] [--tiny]

The images are written to a folder (class/file) and to Parquet with row groups of 100. A torch
``DataLoader`` with two worker processes decodes an epoch at 224 px with timm's training transform
(random resized crop, flip, colour jitter); epochs of the three alternate, in the same order of
images and with the same settings. Then the unique memory (USS) of one worker process that has read
a few batches is measured for sets of 1,000 to 1,000,000 files; the names of the large ones repeat.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from timm.data.transforms_factory import create_transform
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from benchmarks.measure import report, spread
from nasi_ray.data.folder import FolderImages
from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.open import open_images
from nasi_ray.data.order import epoch_order
from nasi_ray.data.texts import Texts

NUM_WORKERS = 2
BATCH_SIZE = 64
ROW_GROUP = 100

Sample = tuple[torch.Tensor, int]


class LazyDataset(Dataset[Sample]):
    """What a training job makes of ``LazyImages``."""

    def __init__(self, images: LazyImages, transform: Callable[[Any], torch.Tensor]) -> None:
        self._images, self._transform = images, transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        return self._transform(self._images.image(index)), int(self._images.labels[index])


def write_copies(data: str, root: Path, num_images: int | None) -> int:
    """Write the images to ``root/folder`` and ``root/parquet``; how many there are."""
    images = open_images(data)
    encoded: Any = images.encoded
    count = min(len(images), num_images or len(images))
    rows = []
    for index in range(count):
        content = encoded.read(index)
        label = int(images.labels[index])
        path = root / "folder" / f"{label:04d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        rows.append({"image": {"bytes": content, "path": path.name}, "label": label})
    (root / "parquet").mkdir()
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, root / "parquet" / "train.parquet", row_group_size=ROW_GROUP)
    return count


def images_per_s(dataset: Dataset[Sample], order: Sequence[int]) -> float:
    """Of one epoch, the start of the worker processes included."""
    loader = DataLoader(
        dataset,
        BATCH_SIZE,
        sampler=order,
        num_workers=NUM_WORKERS,
        multiprocessing_context="fork",
    )
    start = time.perf_counter()
    count = sum(len(images) for images, _ in loader)
    return count / (time.perf_counter() - start)


def repeated(images: LazyImages, count: int) -> LazyImages:
    """The files of a folder over and over, as a set of ``count`` images."""
    encoded: Any = images.encoded
    names = [encoded.names[index] for index in range(len(images))]
    texts = Texts.of(names[index % len(names)] for index in range(count))
    labels = np.resize(images.labels, count)
    return replace(images, labels=labels, encoded=FolderImages(encoded.root, texts))


def worker_memory(dataset: Dataset[Sample], context: str, count: int) -> float:
    """Unique memory of a worker in MiB, after a few batches of random images."""
    order = epoch_order(count, 0, 0)[: 8 * BATCH_SIZE].tolist()
    loader = DataLoader(
        dataset, BATCH_SIZE, sampler=order, num_workers=1, multiprocessing_context=context
    )
    batches: Iterator[Any] = iter(loader)
    for _ in range(6):
        next(batches)
    memory = psutil.Process(batches._workers[0].pid).memory_full_info()  # type: ignore[attr-defined]
    return float(memory.uss) / 2**20


def measure_speed(sets: dict[str, Any], count: int, pairs: int) -> dict[str, list[float]]:
    """Images/s of each in alternating epochs; one epoch of each comes before."""
    found: dict[str, list[float]] = {name: [] for name in sets}
    for number in range(-1, pairs):
        for name, (dataset, blocks) in sets.items():
            order = epoch_order(count, 0, max(number, 0), blocks=blocks).tolist()
            speed = images_per_s(dataset, order)
            if number >= 0:
                found[name].append(speed)
    return found


def measure_memory(root: Path, sizes: Sequence[int]) -> dict[str, list[float]]:
    """MiB of a worker for sets of those sizes."""
    transform = create_transform(224, is_training=True)
    folder, bare = open_images(str(root)), ImageFolder(str(root), transform)
    samples = bare.samples
    found: dict[str, list[float]] = {}
    for count in sizes:
        lazy = LazyDataset(repeated(folder, count), transform)
        # New texts: one that occurs twice would be sent once.
        paths = ((*samples[index % len(samples)],) for index in range(count))
        bare.samples = [(path.encode().decode(), label) for path, label in paths]
        for name, dataset, context in (
            ("ours, fork", lazy, "fork"),
            ("ours, forkserver", lazy, "forkserver"),
            ("ImageFolder, forkserver", bare, "forkserver"),
        ):
            found.setdefault(name, []).append(worker_memory(dataset, context, count))
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data/imagenet-sample")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="128 images, small sets")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transform = create_transform(224, is_training=True)
    sizes = (1000, 10_000) if args.tiny else (1000, 100_000, 1_000_000)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        count = write_copies(args.data, root, 2 * BATCH_SIZE if args.tiny else None)
        folder, parquet = (open_images(str(root / name)) for name in ("folder", "parquet"))
        sets = {
            "ImageFolder": (ImageFolder(str(root / "folder"), transform), None),
            "folder": (LazyDataset(folder, transform), None),
            "parquet": (LazyDataset(parquet, transform), parquet.blocks),
        }
        speed = measure_speed(sets, count, args.pairs)
        memory = measure_memory(root / "folder", sizes)
    bare = speed["ImageFolder"]
    ratios = {
        name: [ours / base for ours, base in zip(speed[name], bare, strict=True)]
        for name in ("folder", "parquet")
    }
    rows = [(f"images/s, {name}", spread(found, 0)) for name, found in speed.items()]
    rows += [(f"{name} ÷ ImageFolder", spread(found, 3)) for name, found in ratios.items()]
    for name, found in memory.items():
        shown = ", ".join(f"{value:.0f}" for value in found)
        rows.append((f"MiB of a worker at {', '.join(map(str, sizes))} images: {name}", shown))
    figures = {
        **{f"ratio_{name}": statistics.median(found) for name, found in ratios.items()},
        "images_per_s": {name: statistics.median(found) for name, found in speed.items()},
        "memory_mib": memory,
        "sizes": sizes,
        "num_images": count,
        "pairs": args.pairs,
    }
    report(f"Input at 224 px, {NUM_WORKERS} worker processes, median (range)", rows, figures)


if __name__ == "__main__":
    main()
