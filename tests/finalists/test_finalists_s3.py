"""Finalists of a search on S3: the same as on disk, and they go on there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import nasi_ray
from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.errors import SearchStoppedError
from nasi_ray.finalists import training
from nasi_ray.finalists.job import FinalistPlan, FinalistResult, run_finalists
from nasi_ray.run.tracking import TrackConfig
from nasi_ray.search.settings import FinalistConfig
from nasi_ray.storage import open_storage
from nasi_ray.training import images, job
from nasi_ray.training.recipes import RECIPES
from tests.contracts.s3_server import BUCKET
from tests.sweep.test_job import TINY
from tests.toy import Quiet

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("s3", "blank_pictures"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray itself
]

EPOCHS = 4
SEARCH = {k: v for k, v in TINY.items() if k != "seeds"} | {"progress": None}


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(
        RECIPES["quick"], init_channels=2, image_size=8, epochs=EPOCHS, batch_size=16,
        num_train_images=32,
    )  # fmt: skip
    monkeypatch.setitem(RECIPES, "quick", recipe)
    monkeypatch.setitem(images._NUM_RANDOM, "train", 200)


def finalists(uri: str, num_workers: int = 0) -> FinalistResult:
    """Search, and compare three cells, on made-up images (which the command refuses)."""
    result = nasi_ray.search(out=uri, **SEARCH)
    plan = FinalistPlan(
        final=FinalistConfig(finalists=3),
        samples=SampleConfig(space="nb201", data="random", image_size=8),
        estimate=EstimateConfig(objective="panel", estimator="score-function", num_samples=6),
        compute=ComputeSettings(num_workers=num_workers),
        accuracies=None,
        tracking=TrackConfig(),
    )
    return run_finalists(plan, [result], uri, Quiet())


def found(result: FinalistResult) -> list[Any]:
    names = ("rank", "score", "architecture", "valid_accuracy", "epochs", "is_stopped")
    return [{name: cell[name] for name in names} for cell in result.content["cells"]]


def test_finalists_on_s3_are_stopped_and_go_on_as_on_disk(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, run_train, calls = f"s3://{BUCKET}/{prefix}", job.run_train, []

    def stop(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise SearchStoppedError("stopped")
        return run_train(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training, "run_train", stop)
        with pytest.raises(SearchStoppedError, match="of 3 finalists trained"):
            finalists(uri)
    on_s3, on_disk = finalists(uri), finalists(str(tmp_path / "run"))
    assert found(on_s3) == found(on_disk)
    assert on_s3.files == on_disk.files
    storage = open_storage(uri)
    assert json.loads(storage.read("finalists.json"))["answer"] == on_disk.content["answer"]
    assert set(on_s3.files) <= set(storage.list(""))
    # The same command answers without training.
    monkeypatch.setattr(training, "run_train", None)
    assert found(finalists(uri)) == found(on_s3)


def test_trials_of_finalists_on_s3_train_what_this_process_trains(
    tmp_path: Path, prefix: str
) -> None:
    on_ray = finalists(f"s3://{BUCKET}/{prefix}", num_workers=2)
    assert on_ray.num_failed == 0
    ended = [cell for cell in on_ray.content["cells"] if not cell["is_stopped"]]
    assert ended
    assert all(cell["epochs"] == EPOCHS for cell in ended)
    assert {cell["run"][:5] for cell in on_ray.content["cells"]} == {"s3://"}
    here = finalists(str(tmp_path / "run"))
    for one, other in zip(found(on_ray), found(here), strict=True):
        if one["epochs"] == other["epochs"]:
            assert one["valid_accuracy"] == other["valid_accuracy"]
    assert found(finalists(f"s3://{BUCKET}/{prefix}", num_workers=2)) == found(on_ray)
