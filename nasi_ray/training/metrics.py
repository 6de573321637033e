"""What is measured of a training: sums over the images of all ranks, and a row per epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn import functional as F

from nasi_ray.display.tensorboard import EVENTS, event_file
from nasi_ray.errors import RecordCorruptError
from nasi_ray.storage import Storage

if TYPE_CHECKING:  # timm takes two seconds to import, which reading metrics does not need
    from nasi_ray.training.loader import Loader
    from nasi_ray.training.state import TrainState
    from nasi_ray.training.world import World

Row = Mapping[str, float]
"""Column -> value, of one epoch."""

COLUMNS: dict[str, pa.DataType] = {
    "epoch": pa.int32(),
    "lr": pa.float64(),
    "train_loss": pa.float64(),
    "test_loss": pa.float64(),
    "top1": pa.float64(),
    "top5": pa.float64(),
    "images_per_second": pa.float64(),
    "wait_share": pa.float64(),
    "seconds": pa.float64(),
    "time": pa.float64(),
}
"""Of ``metrics.parquet``: epochs count from 1; losses are means over images; top-1 and top-5 are
percent of the test images; images/s are of all workers, testing excluded; the share of that time
waiting for data is the first worker's; seconds include testing; time is when the epoch ended, in
seconds since 1970."""

DETERMINED = ("epoch", "lr", "train_loss", "test_loss", "top1", "top5")
"""Columns that do not depend on how fast the machine is."""

_TENSORBOARD = f"tensorboard/{EVENTS}"


def test(state: TrainState, loader: Loader, world: World) -> tuple[dict[str, float], int]:
    """Test on every image once, shared among the ranks.

    Returns:
        ``test_loss`` (mean cross-entropy), ``top1`` and ``top5`` in percent; number of images.
    """
    net = state.tested
    net.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=world.device)
    with torch.inference_mode():
        for x, y in loader.test():
            x, y = to_device(x, world.device), y.to(world.device)
            with state.autocast():
                logits = net(x)
            sums += _sums(logits.float(), y)
    loss, top1, top5, count = world.sum(sums).tolist()
    figures = {"test_loss": loss / count, "top1": 100 * top1 / count, "top5": 100 * top5 / count}
    return figures, int(count)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Images where the network is, in its memory format."""
    return x.to(device, non_blocking=True, memory_format=torch.channels_last)


def _sums(logits: Tensor, y: Tensor) -> Tensor:
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]
    loss = F.cross_entropy(logits, y, reduction="sum")
    return torch.stack(
        [
            loss.double(),
            best[:, 0].sum().double(),
            best.sum().double(),
            torch.tensor(len(y), dtype=torch.float64, device=y.device),
        ]
    )


def metrics_files(rows: Sequence[Row]) -> dict[str, bytes]:
    """Name -> content of ``metrics.parquet``, ``metrics.csv`` and TensorBoard's events."""
    columns = {n: pa.array([row[n] for row in rows], kind) for n, kind in COLUMNS.items()}
    table = pa.table(columns)
    parquet, csv = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    pyarrow.csv.write_csv(table, csv)
    return {
        "metrics.parquet": parquet.getvalue(),
        "metrics.csv": csv.getvalue(),
        _TENSORBOARD: _events(rows),
    }


def write_metrics(storage: Storage, rows: Sequence[Row]) -> None:
    """Write ``metrics_files``, each whole.

    Raises:
        StorageError: If the storage fails.
    """
    for name, data in metrics_files(rows).items():
        storage.write(name, data)


def _events(rows: Sequence[Row]) -> bytes:
    return event_file(
        [
            (name, row[name], int(row["epoch"]), row["time"])
            for row in rows
            for name in COLUMNS
            if name not in ("epoch", "time")
        ]
    )


def read_metrics(storage: Storage) -> list[dict[str, Any]]:
    """The rows of ``metrics.parquet``; none if it is not there.

    Raises:
        RecordCorruptError: If it is torn or was altered.
        StorageError: If the storage fails.
    """
    try:
        data = storage.read("metrics.parquet")
    except FileNotFoundError:
        return []
    try:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
    except (pa.ArrowException, OSError, ValueError):
        raise RecordCorruptError(
            f"{storage.uri}/metrics.parquet cannot be read (incomplete or changed); restore it, or "
            "delete it to continue without the metrics of earlier epochs"
        ) from None
    return rows


def best_of(rows: Sequence[Row]) -> Row:
    """The epoch with the highest top-1; the first of equals."""
    return max(rows, key=lambda row: (row["top1"], -row["epoch"]))
