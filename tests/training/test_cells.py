"""Trainings of a list of cells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

import nasi_ray
from nasi_ray.errors import (
    ConfigError,
    DataError,
    NasiRayError,
    RecordConflictError,
    SearchStoppedError,
    TrainingError,
    WorkerError,
)
from nasi_ray.pool import nodes
from nasi_ray.progress import Progress
from nasi_ray.spaces import Genotype
from nasi_ray.tables.tabular import TabularBenchmark
from nasi_ray.training import cells
from nasi_ray.training.settings import TrainJob, make_train_job
from tests.jobs.command import call, run, start, wait_for
from tests.toy import Quiet
from tests.training.trainings import CELL, TINY, figures, train

OTHER = CELL.replace("sep_conv_3x3", "dil_conv_3x3")
SMALL = {**TINY, "genotype": None, "epochs": 1, "num_train_images": 32}


class EndsNowhere:
    progress: Progress = Quiet()

    def end(self, position: int, failure: NasiRayError | None) -> None:
        """No training ends."""


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A list of two cells."""
    path = tmp_path / "cells.txt"
    path.write_text(f"# two cells\n{CELL}\n{OTHER}\n")
    return path


def job(both: Path, out: Path, **settings: Any) -> TrainJob:
    return make_train_job({**SMALL, "genotypes": str(both), "out": str(out), **settings})


def arguments(settings: dict[str, Any]) -> list[str]:
    given = {k: v for k, v in settings.items() if v is not None}
    return [part for k, v in given.items() for part in (f"--{k.replace('_', '-')}", str(v))]


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0.25), ("cpu", 0.0)])
def test_trainings_of_a_list_share_a_gpu(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: float
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(cells, "connect", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(nodes, "live_nodes", lambda *_: [{"CPU": 8.0, "GPU": 1.0}])
    monkeypatch.setattr(nodes, "has_autoscaler", lambda: False)
    monkeypatch.setattr(cells, "run_trials", lambda *args: asked.append(args[3]))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    shared = job(both, tmp_path, num_workers=4, device=device, gpus_per_worker=0.25)
    cells.on_workers(shared, print, (), (0, 1), EndsNowhere())
    assert [(one.gpus, one.cpus, one.at_once) for one in asked] == [(gpus, 1, 4)]


def test_the_table_has_every_cell_with_every_seed(both: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    progress = Quiet()
    result = cells.run_cells(job(both, out, seeds=(3, 5, 3), epochs=2), progress)
    assert (result.num_trained, result.failures) == (4, {})
    table = pq.read_table(out / "accuracies.parquet")
    assert table["genotype"].to_pylist() == [Genotype.parse(c).to_json() for c in (CELL, OTHER)]
    assert table["seeds"].to_pylist() == [[3, 5], [3, 5]]
    alone = train(tmp_path / "alone", genotype=OTHER, seed=5, num_train_images=32)
    assert table["random_test_accuracy_2ep"].to_pylist()[1][1] == alone.top1
    assert figures(out / "cells" / "0001-seed5") == figures(tmp_path / "alone")
    found = TabularBenchmark.open(str(out / "accuracies.parquet"))
    metric = found.metric("test", epochs=2)
    mean = sum(table["random_test_accuracy_2ep"].to_pylist()[0]) / 2
    assert found.accuracy(metric, Genotype.parse(CELL)) == pytest.approx(mean)
    # The same command answers; one with more seeds trains only those.
    before = (out / "accuracies.parquet").read_bytes()
    assert cells.run_cells(job(both, out, seeds=(3, 5), epochs=2), Quiet()).num_trained == 4
    assert (out / "accuracies.parquet").read_bytes() == before
    (out / "cells" / "0000-seed3" / "checkpoints").rename(tmp_path / "gone")
    assert cells.run_cells(job(both, out, seeds=(3, 5, 6), epochs=2), Quiet()).num_trained == 6


def test_a_training_that_fails_is_reported_and_left(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_one = cells._train_one

    def fail_first(position: int, *args: Any) -> None:
        if position == 0:
            raise TrainingError("the loss is nan")
        train_one(position, *args)

    monkeypatch.setattr(cells, "_train_one", fail_first)
    out = tmp_path / "run"
    argv = arguments({**SMALL, "genotypes": both, "out": out})
    code, text, err = call("train.py", *argv)
    assert (code, text) == (
        4,
        f"1 trained, 1 failed; written to {out}: accuracies.parquet, cells/\n",
    )
    assert f"{out}/cells/0000-seed0 failed: the loss is nan" in err
    assert pq.read_table(out / "accuracies.parquet").num_rows == 1
    monkeypatch.undo()
    code, text, _ = call("train.py", *argv)
    assert (code, text.split(";")[0]) == (0, "2 trained, 0 failed")


def test_no_row_of_an_earlier_command_is_lost(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    first = tmp_path / "first.txt"
    first.write_text(CELL)

    def rows(column: str = "seeds") -> Any:
        return pq.read_table(out / "accuracies.parquet")[column].to_pylist()

    cells.run_cells(job(both, out, seeds=(5,)), Quiet())
    accuracy = rows("random_test_accuracy_1ep")
    assert cells.run_cells(job(both, out, seeds=(3,)), Quiet()).num_trained == 2
    assert rows() == [[3, 5], [3, 5]]
    cells.run_cells(job(first, out, seeds=(4,)), Quiet())
    assert rows() == [[3, 4, 5], [3, 5]]
    assert [row[-1:] for row in rows("random_test_accuracy_1ep")] == accuracy

    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    (out / "accuracies.parquet").unlink()
    monkeypatch.setattr(cells, "_train_one", stop)
    with pytest.raises(SearchStoppedError):
        cells.run_cells(job(both, out, seeds=(9,)), Quiet())
    assert rows() == [[3, 4, 5], [3, 5]]


def test_trainings_of_other_settings_do_not_go_into_the_table(both: Path, tmp_path: Path) -> None:
    cells.run_cells(job(both, tmp_path / "run", seeds=(3,)), Quiet())
    with pytest.raises(RecordConflictError, match="made with epochs=1; asked for epochs=2"):
        cells.run_cells(job(both, tmp_path / "run", seeds=(4,), epochs=2), Quiet())


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (TrainingError("the loss is nan"), 1, "error: every training failed, the first one with: "),
        (WorkerError("it died"), 4, "/cells/0001-seed0 failed: it died"),
    ],
)
def test_trainings_that_all_fail_are_worth_a_retry_or_not(
    both: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: NasiRayError,
    code: int,
    told: str,
) -> None:
    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(cells, "_train_one", fail)
    argv = arguments({**SMALL, "genotypes": both, "out": tmp_path / "run"})
    ended, _, err = call("train.py", *argv)
    assert ended == code
    assert any(told in line for line in err.splitlines()[-2:])


def test_a_stop_keeps_what_is_trained(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_one = cells._train_one

    def stop_at_second(position: int, *args: Any) -> None:
        if position == 1:
            raise KeyboardInterrupt
        train_one(position, *args)

    monkeypatch.setattr(cells, "_train_one", stop_at_second)
    with pytest.raises(SearchStoppedError, match="stopped with 1 of 2 cells trained"):
        cells.run_cells(job(both, tmp_path / "run"), Quiet())
    assert pq.read_table(tmp_path / "run" / "accuracies.parquet").num_rows == 1


def test_what_does_not_go_together_is_refused(both: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="genotype and genotypes are given together"):
        job(both, tmp_path, genotype=CELL)
    with pytest.raises(ConfigError, match="seeds are for --genotypes"):
        make_train_job({**TINY, "seeds": (1, 2)})
    with pytest.raises(ConfigError, match="genotypes works only with the command nasi-ray train"):
        nasi_ray.train(genotypes=str(both), progress=None)
    with pytest.raises(DataError, match="cannot be read"):
        cells.run_cells(job(tmp_path / "none", tmp_path / "run"), Quiet())


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("../shared/data/cifar10/", "cifar10"),
        ("CIFAR100", "cifar100"),
        ("s3://b/Image-Net", "imagenet"),
        ("/data/10", "data10"),
    ],
)
def test_a_column_is_named_after_the_data(source: str, name: str) -> None:
    assert cells._dataset(source) == name


def trials_of(driver: int) -> list[psutil.Process]:
    """Workers of trials among the descendants of a driver."""
    family = psutil.Process(driver).children(recursive=True)
    found = []
    for process in family:
        try:
            if any("ImplicitFunc" in word or "_trial" in word for word in process.cmdline()[:1]):
                found.append(process)
        except psutil.Error:
            continue
    assert found
    return found


@pytest.mark.integration
@pytest.mark.slow
def test_trials_run_side_by_side_through_kills_and_a_stop(both: Path, tmp_path: Path) -> None:
    long = {**SMALL, "epochs": 60, "num_train_images": 320, "genotypes": both}
    expected = tmp_path / "expected"
    assert run("train.py", *arguments({**long, "out": expected}))[0] == 0
    out = tmp_path / "run"
    argv = arguments({**long, "num_workers": 2, "checkpoint_steps": 5, "out": out})
    process = start("train.py", *argv)
    wait_for(lambda: any(out.glob("cells/0000-seed0/checkpoints/*")), process)
    trials_of(process.pid)[0].kill()
    wait_for(lambda: any(out.glob("cells/0001-seed0/checkpoints/*")), process)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "run the same command again to continue" in err
    code, text, err = run("train.py", *argv)
    assert code == 0, err
    assert text.startswith("2 trained, 0 failed")
    for name in ("0000-seed0", "0001-seed0"):
        assert figures(out / "cells" / name) == figures(expected / "cells" / name)
    settings = (out / "settings.yaml").read_text()
    assert "genotypes" in settings
    assert json.loads((out / "cells" / "0000-seed0" / "result.json").read_text())["epochs"] == 60
