"""Trainings at Weights & Biases and MLflow: their own packages, writing files."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.errors import ConfigError, SearchStoppedError
from nasi_ray.run import services, tracking
from nasi_ray.spaces import Genotype
from nasi_ray.storage import LocalStorage
from nasi_ray.training import cells
from nasi_ray.training.job import run_train
from nasi_ray.training.metrics import read_metrics
from tests.run.tracked import Sent, mlflow_runs, use_offline, wandb_runs
from tests.toy import Quiet
from tests.training.test_cells import both, job
from tests.training.test_job import Stopper
from tests.training.trainings import figures, tiny, train

pytestmark = pytest.mark.integration

__all__ = ["both"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the services write."""
    use_offline(monkeypatch, tmp_path / "services")
    monkeypatch.setattr(tracking, "_INTERVAL_S", 0.0)
    return tmp_path / "services"


def measured(out: Path) -> list[tuple[int, dict[str, float]]]:
    """What services are to have of a run directory."""
    rows = read_metrics(LocalStorage(str(out)))
    return [(r["epoch"], {k: v for k, v in r.items() if k not in ("epoch", "time")}) for r in rows]


def check(sent: Sent, out: Path) -> None:
    """Settings, every epoch once, and the result."""
    assert sent.points == measured(out)
    assert sent.is_done
    assert sent.name == out.name
    assert str(sent.settings["init_channels"]) == "2"
    assert "track" not in sent.settings
    content = json.loads((out / "result.json").read_text())
    assert sent.summary["parameters"] == content["parameters"]
    assert sent.summary["best_epoch"] == content["best"]["epoch"]
    genotype = Genotype.from_dict(content["genotype"])
    assert sent.summary["architecture"] == genotype.to_string()


def test_mlflow_has_every_epoch_once_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    asked = tiny(out, epochs=4, track=["mlflow"], project="cells")
    with monkeypatch.context() as patch, pytest.raises(SearchStoppedError):
        run_train(asked, Stopper(patch, 9))
    (stopped,) = mlflow_runs("cells")
    assert (stopped.steps, stopped.is_done) == ([1, 2], False)
    display = Quiet()
    result = run_train(asked, display)
    (sent,) = mlflow_runs("cells")
    check(sent, out)
    assert sent.steps == [1, 2, 3, 4]
    assert not [line for line in display.messages if "mlflow" in line]
    # The same command sends nothing; what is told changes nothing.
    again = run_train(asked, Quiet())
    assert [one.points for one in mlflow_runs("cells")] == [sent.points]
    assert again.content == result.content
    train(tmp_path / "alone", epochs=4)
    assert figures(out) == figures(tmp_path / "alone")


def test_wandb_has_every_epoch_once_after_a_stop(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    asked = tiny(out, epochs=4, track=["wandb"])
    with monkeypatch.context() as patch, pytest.raises(SearchStoppedError):
        run_train(asked, Stopper(patch, 9))
    (stopped,) = wandb_runs(folder).values()
    assert (stopped.steps, stopped.is_done) == ([1, 2], False)
    run_train(asked, Quiet())
    (sent,) = wandb_runs(folder).values()
    check(sent, out)
    assert sent.project == "nasi_ray"
    run_train(asked, Quiet())
    (again,) = wandb_runs(folder).values()
    assert again.steps == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray itself
def test_workers_of_ray_train_are_followed_while_they_train(tmp_path: Path) -> None:
    out = tmp_path / "run"
    display = Watching(out)
    run_train(tiny(out, epochs=40, num_workers=1, track=["mlflow"]), display)
    assert display.num_sent_before_the_end > 0
    (sent,) = mlflow_runs()
    check(sent, out)


class Watching(Quiet):
    """Looks at what was sent while a training goes on."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self._out, self.num_sent_before_the_end = out, 0

    def update(self, state: Any) -> None:
        super().update(state)
        if (self._out / "tracking.json").exists() and not (self._out / "result.json").exists():
            (known,) = json.loads((self._out / "tracking.json").read_text()).values()
            self.num_sent_before_the_end = known["step"]


def test_a_training_that_is_done_is_sent_later(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out)
    train(out, track=["mlflow"])
    (sent,) = mlflow_runs()
    check(sent, out)


def test_a_run_that_was_deleted_there_is_made_again(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    out = tmp_path / "run"
    train(out, epochs=1, track=["mlflow"])
    known = json.loads((out / "tracking.json").read_text())
    ((key, first),) = known.items()
    MlflowClient().delete_run(first["run_id"])
    (out / "tracking.json").write_text(json.dumps({key: {**first, "final": None}}))
    train(out, epochs=1, track=["mlflow"])
    assert [one.points for one in mlflow_runs()] == [measured(out)]


def test_a_list_of_trainings_is_a_group(both: Path, tmp_path: Path) -> None:
    out = tmp_path / "list"
    cells.run_cells(job(both, out, seeds=(3, 5)), Quiet())
    cells.run_cells(job(both, out, seeds=(3, 5, 6), track=["mlflow"]), Quiet())
    sent = mlflow_runs()
    names = [f"000{number}-seed{seed}" for number in (0, 1) for seed in (3, 5, 6)]
    assert [one.name for one in sent] == names
    for one in sent:
        check(one, out / "cells" / one.name)
    assert {one.group for one in sent} == {"list"}
    assert {one.settings["seed"] for one in sent} == {"3", "5", "6"}


def test_a_service_that_fails_is_named_once_and_gets_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, calls = services.MlflowRun.log, 0

    def fail_later(self: services.MlflowRun, points: Any) -> None:
        nonlocal calls
        calls += bool(points)
        if calls > 1:
            raise ConnectionError("no route to host\nat all")
        log(self, points)

    out, display = tmp_path / "run", Quiet()
    with monkeypatch.context() as patch:
        patch.setattr(services.MlflowRun, "log", fail_later)
        run_train(tiny(out, epochs=4, track=["mlflow"]), display)
    told = [line for line in display.messages if "mlflow" in line]
    assert told == [
        "nothing more is sent to mlflow: no route to host at all; the run continues, and running "
        "the same command again sends what is missing"
    ]
    train(tmp_path / "alone", epochs=4)
    assert figures(out) == figures(tmp_path / "alone")
    assert calls == 2
    run_train(tiny(out, epochs=4, track=["mlflow"]), Quiet())
    (sent,) = mlflow_runs()
    check(sent, out)


@pytest.mark.parametrize(
    "service", ["mlflow", pytest.param("wandb", marks=pytest.mark.integration)]
)
def test_a_server_that_is_not_there_does_not_end_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setattr(services, "_TIMEOUT_S", 3)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    display = Quiet()
    result = run_train(tiny(tmp_path / "run", track=[service]), display)
    assert result.content["epochs"] == 2
    (told,) = [line for line in display.messages if service in line]
    assert told.startswith(f"nothing more is sent to {service}: ")


def test_a_package_that_is_not_installed_is_named_before_anything_starts(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()  # as an offline run of wandb makes it
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    words = "track is wandb, and the package wandb is not installed; pip install 'nasi_ray.track.'"
    with pytest.raises(ConfigError, match=words):
        train(tmp_path / "run", track=["wandb"])
    with pytest.raises(ConfigError, match=words):
        cells.run_cells(job(both, tmp_path / "list", track=["wandb"]), Quiet())
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "list").exists()


def test_a_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlruns_of_somebody").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = importlib.util.find_spec("mlruns_of_somebody")
    assert found is not None
    assert found.origin is None
    monkeypatch.setattr(tracking, "find_spec", lambda name: found)
    with pytest.raises(ConfigError, match="the package wandb is not installed"):
        train(tmp_path / "run", track=["wandb"])


def test_nothing_is_imported_before_it_is_needed() -> None:
    # timm, which trainings use, imports wandb where it is installed.
    code = (
        "import sys, nasi_ray, nasi_ray.sweep.settings\n"
        "from nasi_ray.training.settings import parse_train\n"
        "parse_train(['--genotype', 'x', '--track', 'wandb', 'mlflow'])\n"
        "print([name for name in sys.modules if name in ('wandb', 'mlflow')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
