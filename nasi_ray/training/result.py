"""The result of a training: ``result.json``, and what Python functions return."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasi_ray.errors import RecordCorruptError
from nasi_ray.run.provenance import machine, versions
from nasi_ray.run.schemas import TRAINING_SCHEMA, refuse_other_schema
from nasi_ray.storage import Storage, open_storage
from nasi_ray.training.metrics import best_of, read_metrics
from nasi_ray.training.model import load_model, make_on_meta

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from nasi_ray.training.loop import TrainPlan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class TrainResult:
    """A trained network and its figures."""

    content: Mapping[str, Any]
    """As ``result.json``."""
    uri: str
    """The run directory."""

    @property
    def top1(self) -> float:
        """Accuracy on the test (or held-out) images after the last epoch, in percent."""
        return float(self.content["top1"])

    @property
    def top5(self) -> float:
        """Test images whose class is among the first five, in percent."""
        return float(self.content["top5"])

    def model(self) -> nn.Module:
        """The network in evaluation mode, on the CPU."""
        return load_model(open_storage(self.uri))[0]

    def to_dict(self) -> dict[str, Any]:
        """As ``result.json``."""
        return dict(self.content)

    def to_pandas(self) -> pandas.DataFrame:
        """A row per epoch, as in ``metrics.parquet``."""
        import pandas  # takes a second to import

        return pandas.DataFrame(read_metrics(open_storage(self.uri)))

    def __repr__(self) -> str:
        return f"TrainResult(top1={self.top1:.2f} %, {self.uri!r})"


def make_result(
    recipe: str, data: str, plan: TrainPlan, rows: Sequence[Mapping[str, float]], seconds: float
) -> dict[str, Any]:
    """The content of ``result.json``.

    Args:
        recipe: Its name.
        data: The images, as the user named them.
        plan: The training.
        rows: Metrics of all epochs.
        seconds: Wall time of the last command.
    """
    net = make_on_meta(plan.model)
    tower = getattr(net, "auxiliary", None)
    auxiliary = 0 if tower is None else sum(p.numel() for p in tower.parameters())
    last, best = rows[-1], best_of(rows)
    figures = ("top1", "top5", "test_loss", "train_loss")
    return {
        **plan.model.to_dict(),
        "schema": TRAINING_SCHEMA,
        "recipe": recipe,
        "parameters": sum(p.numel() for p in net.parameters()) - auxiliary,
        "auxiliary_parameters": auxiliary,
        "data": data,
        **{f"{name}_identity": value for name, value in plan.images.identity.items()},
        "num_train_images": plan.images.num_train,
        "num_test_images": plan.images.num_test,
        **(
            {"holdout": plan.training.holdout}
            if plan.training.holdout
            else {"test_split": plan.images.test_split}
        ),
        "epochs": int(last["epoch"]),
        "batch_size": plan.training.batch_size,
        "micro_batch_size": plan.micro_batch_size,
        "seed": plan.training.seed,
        "is_average": plan.training.ema_decay > 0,
        **{name: last[name] for name in figures},
        "best": {"epoch": int(best["epoch"]), "top1": best["top1"]},
        "train_seconds": sum(row["seconds"] for row in rows),
        "seconds": seconds,
        "versions": versions(),
        "machine": machine(),
    }


def read_result(storage: Storage) -> TrainResult | None:
    """The result in a run directory; None if the training is not done.

    Raises:
        RecordCorruptError: If ``result.json`` was altered, or is of another version.
        StorageError: If the storage fails.
    """
    try:
        content = json.loads(storage.read("result.json"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        content = None
    where = f"{storage.uri}/result.json"
    if not isinstance(content, dict) or "top1" not in content:
        raise RecordCorruptError(f"{where} was changed; delete it and run the same command again")
    refuse_other_schema(content, where, TRAINING_SCHEMA)
    return TrainResult(content=content, uri=storage.uri)
