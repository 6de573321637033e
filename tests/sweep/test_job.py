"""Sweeps in this process, and on Ray: the same cells, through kills and stops."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

import nasi_ray
from nasi_ray.errors import (
    ConfigError,
    NasiRayError,
    NoCapacityError,
    NoGoodSamplesError,
    SearchStoppedError,
    StorageError,
)
from nasi_ray.pool.connection import connect
from nasi_ray.search import job as search_job
from nasi_ray.search import many
from nasi_ray.show import show_lines
from nasi_ray.storage import LocalStorage
from nasi_ray.sweep.job import run_sweep
from nasi_ray.sweep.result import SweepResult
from nasi_ray.sweep.settings import SweepJob, make_sweep_job, plain_compute
from nasi_ray.sweep.text import sweep_lines
from tests.jobs.command import call, run, start, wait_for, worker_pids
from tests.toy import Quiet

TINY: dict[str, Any] = {
    "space": "nb201",
    "seeds": [0, 1, 2],
    "num_samples": 6,
    "batch_size": 2,
    "image_size": 8,
    "init_channels": 2,
    "num_cells": 3,
    "num_workers": 0,
}

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]


def job(out: Path, **settings: Any) -> SweepJob:
    return make_sweep_job({**TINY, "out": str(out), **settings})


def sweep(out: Path, **settings: Any) -> SweepResult:
    return run_sweep(job(out, **settings), Quiet())


def arguments(out: Path, **settings: Any) -> list[str]:
    given = {**TINY, "out": out, **settings}
    return [
        part
        for name, value in given.items()
        for part in (
            f"--{name.replace('_', '-')}",
            *(map(str, value) if isinstance(value, list) else [str(value)]),
        )
    ]


def cells(result: SweepResult) -> list[Any]:
    """All that must not depend on who evaluated.

    The last digits of a mean over seeds depend on the threads of NumPy's linear algebra.
    """
    kept = ("seed", "architecture", "kept_probabilities", "lost")
    agreed = ("architecture", "votes", "agreement", "num_selected", "num_searches")
    return [
        (
            point["set"],
            [{name: one[name] for name in kept} for one in point["searches"]],
            {name: point["consensus"][name] for name in agreed},
        )
        for point in result.content["combinations"]
    ]


def test_every_seed_is_a_search_and_the_consensus_has_their_best_mean_score(
    tmp_path: Path, evaluated: list[int]
) -> None:
    result = sweep(tmp_path / "sweep")
    assert evaluated == [*range(6)] * 3
    (point,) = result.content["combinations"]
    for one, search in zip(point["searches"], result.searches[0], strict=True):
        assert search is not None
        settings = {k: v for k, v in TINY.items() if k != "seeds"}
        alone = nasi_ray.search(
            seed=one["seed"], out=str(tmp_path / f"alone{one['seed']}"), progress=None, **settings
        )
        assert one["architecture"] == alone.architecture.to_string()
        assert search.content["alpha"] == alone.content["alpha"]
        assert json.loads((Path(one["run"]) / "result.json").read_text())["alpha"]
    consensus = result.architecture
    assert consensus is not None
    scores = [r.estimate.score.grid() for r in result.searches[0] if r and r.estimate.score]
    assert len(scores) == 3
    assert point["consensus"]["num_searches"] == 3
    assert point["consensus"]["architecture"] == consensus.to_string()
    assert set(point["consensus"]["votes"]) == set(point["searches"][0]["kept_probabilities"])
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == result.to_dict()
    assert {"cell.svg", "cell.png", "sweep.json"} <= set(result.files)
    assert repr(result) == f"SweepResult('nb201', 3 seeds, '{tmp_path}/sweep')"
    assert result.to_pandas()["seed"].tolist() == [0, 1, 2]


def test_the_same_command_answers_and_more_seeds_extend(
    tmp_path: Path, evaluated: list[int]
) -> None:
    before = sweep(tmp_path)
    evaluated.clear()
    progress = Quiet()
    again = run_sweep(job(tmp_path), progress)
    assert evaluated == []
    assert cells(again) == cells(before)
    assert progress.messages == []
    more = sweep(tmp_path, seeds=["0:4"])
    assert evaluated == [*range(6)]
    assert cells(more)[0][1][:3] == cells(before)[0][1]


def test_every_answer_is_shown_with_its_space_and_what_differs(tmp_path: Path) -> None:
    sweep(tmp_path, seeds=[0], num_samples=2)
    (first,) = (tmp_path / "answers").iterdir()
    lines = show_lines(str(tmp_path))
    assert lines[0] == f"{tmp_path}: sweep of nb201"
    assert lines[1] == "seeds 0, num_samples 2, objective panel, estimator second-order"
    sweep(tmp_path, seeds=[0, 1], set=["num_samples=2,3"], batch_size=3)
    told = "\n".join(show_lines(str(tmp_path)))
    assert told.count(f"{tmp_path}: sweep of nb201\n") == 2
    assert "seeds 0, num_samples 2, objective panel, estimator second-order, batch_size 2" in told
    assert "seeds 0, 1, objective panel, estimator second-order, batch_size 3" in told
    older = json.loads(first.read_text())
    del older["settings"]
    first.write_text(json.dumps(older))
    told = "\n".join(show_lines(str(tmp_path)))
    assert "seeds 0, num_samples 2, objective panel, estimator second-order\n" in told
    assert "seeds 0, 1, objective panel, estimator second-order\n" in told


def test_estimates_share_samples_and_samples_do_not(tmp_path: Path, evaluated: list[int]) -> None:
    result = sweep(tmp_path, seeds=[4], set=["num_samples=3,6", "batch_size=2,3"])
    assert sorted(evaluated) == sorted([*range(6)] * 2)
    assert [point["set"] for point in result.content["combinations"]] == [
        {"num_samples": 3, "batch_size": 2},
        {"num_samples": 3, "batch_size": 3},
        {"num_samples": 6, "batch_size": 2},
        {"num_samples": 6, "batch_size": 3},
    ]
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert {"consensus/1/cell.svg", "consensus/4/cell.png"} <= set(result.files)
    frame = result.to_pandas()
    assert frame["num_samples"].tolist() == [3, 3, 6, 6]


def test_an_option_without_effect_is_named_once_and_when_all_is_done(tmp_path: Path) -> None:
    settings = job(tmp_path, num_samples=2, pairing="shared-op")
    for _ in range(2):
        progress = Quiet()
        run_sweep(settings, progress)
        notes = [text for text in progress.messages if text.startswith("note:")]
        assert notes == ["note: --pairing has no effect: cells of nb201 have nothing to pair"]


def test_a_search_that_fails_is_reported_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_search = search_job.run_search

    def fail_second(one: Any, *args: Any, **kwargs: Any) -> Any:
        if one.samples.seed == 1:
            raise NoGoodSamplesError("the first 20 samples all failed")
        return run_search(one, *args, **kwargs)

    monkeypatch.setattr(many, "run_search", fail_second)
    code, out, err = call("sweep.py", *arguments(tmp_path))
    assert code == 4
    assert "nb201-seed1-" in err
    assert "warning: 1 search failed; run the same command" in err
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["0", "2"]
    monkeypatch.undo()
    code, out, err = call("sweep.py", *arguments(tmp_path))
    assert code == 0, err
    assert "2 of 3 searches are done already" in err


def test_a_damaged_search_does_not_stop_the_others(tmp_path: Path) -> None:
    sweep(tmp_path)
    part = next((tmp_path / "runs").glob("*seed1*/measurements/path/*.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    shutil.rmtree(part.parents[2] / "answers")
    code, out, err = call("sweep.py", *arguments(tmp_path))
    assert code == 4
    assert f"{part.name} is incomplete or was changed" in err
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["0", "2"]


def test_every_search_failing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise NoGoodSamplesError("all failed")

    monkeypatch.setattr(many, "run_search", fail)
    with pytest.raises(
        NoGoodSamplesError, match="every search failed, the first one with: all failed"
    ):
        sweep(tmp_path)


def test_a_failing_storage_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = LocalStorage.write

    def full(self: LocalStorage, name: str, data: bytes) -> None:
        if name == "result.json":
            raise StorageError("disk full")
        write(self, name, data)

    monkeypatch.setattr(LocalStorage, "write", full)
    with pytest.raises(StorageError, match="disk full; the samples are stored"):
        sweep(tmp_path)


def test_a_stop_says_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_search = search_job.run_search

    def stop_second(one: Any, *args: Any, **kwargs: Any) -> Any:
        if one.samples.seed == 1:
            raise KeyboardInterrupt
        return run_search(one, *args, **kwargs)

    monkeypatch.setattr(many, "run_search", stop_second)
    with pytest.raises(SearchStoppedError, match="1 of 3 searches are done; stopped; run"):
        sweep(tmp_path)


def test_other_settings_in_the_same_place_are_refused(tmp_path: Path) -> None:
    sweep(tmp_path, seeds=[0])
    (run_dir,) = (tmp_path / "runs").iterdir()
    identity = json.loads((run_dir / "identity.json").read_text())
    identity["batch_size"] = 64
    (run_dir / "identity.json").write_text(json.dumps(identity))
    with pytest.raises(NasiRayError, match="batch_size"):
        sweep(tmp_path, seeds=[0])


def test_the_text_fits_a_terminal(tmp_path: Path) -> None:
    result = sweep(tmp_path, seeds=[0, 1], set=["batch_size=2,3"])
    text = sweep_lines(result.content)
    cell_lines = [line for line in text.splitlines() if "conv" not in line and "~" not in line]
    assert max(map(len, cell_lines)) <= 80
    assert text.count("The consensus of 2 seeds, the best mean score, is") == 2
    assert "another seed makes the same with a probability of 95% or more" in " ".join(text.split())
    assert "batch_size=3" in text


def test_trials_on_ray_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in range(2):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        for i in range(3):
            picture = Image.new("RGB", (8, 8), (40 * i, 90 * label, 7))
            picture.save(tmp_path / "images" / str(label) / f"{i}.png")
    settings = {"set": ["batch_size=2,3"], "seeds": [0, 1], "data": str(tmp_path / "images")}
    here = sweep(tmp_path / "here", **settings)
    # Trials run in folders of their own.
    monkeypatch.chdir(tmp_path)
    near = {**settings, "set": "batch_size=2,3", "data": "images", "num_workers": 2}
    Path("prices.json").write_text('{"local": 36.0}')
    line = [*arguments(Path("ray"), **near), "--price-list", "prices.json"]
    code, out, err = run("sweep.py", *line)
    assert code == 0, err
    assert re.search(
        r"^cost: local [\d.]+ min: about \$0\.\d\d \(prices: prices.json\)$", out, re.M
    )
    assert "Trial" not in out + err
    progress = Quiet()
    run_sweep(job(Path("ray"), **{**settings, "data": "images"}), progress)
    assert (progress.messages, progress.states) == ([], [])
    content = json.loads((tmp_path / "ray" / "sweep.json").read_text())
    on_ray = SweepResult(content=content, uri="", searches=[], consensus=[], files=())
    assert cells(on_ray) == cells(here)
    assert "4/4 searches" in err
    assert sweep_lines(content) in out


def test_workers_of_a_search_are_scheduled_with_it(tmp_path: Path) -> None:
    here = sweep(tmp_path / "here", seeds=[0, 1])
    settings = job(tmp_path / "ray", seeds=[0, 1], num_workers=2, workers_per_search=2)
    with connect(None, plain_compute(settings)):
        on_ray = run_sweep(settings, Quiet())
        assert cells(on_ray) == cells(here)
        too_many = job(tmp_path / "no", num_workers=64, workers_per_search=64)
        with pytest.raises(NoCapacityError, match="a search has 64 workers of 1 CPU, and the clus"):
            run_sweep(too_many, Quiet())


def test_a_killed_trial_and_a_killed_driver_lose_little(tmp_path: Path) -> None:
    here = sweep(tmp_path / "here", num_samples=400, seeds=[0, 1])
    argv = arguments(tmp_path / "ray", num_workers=2, num_samples=400, seeds=[0, 1])

    def has_records() -> bool:
        return len(list((tmp_path / "ray").glob("runs/*/measurements/*/*.parquet"))) >= 2

    process = start("sweep.py", *argv)
    wait_for(has_records, process)
    (victim, *_) = worker_pids(process.pid, "ray::_trial") or worker_pids(process.pid, "ray::Impl")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(victim), process)
    drivers = psutil.Process(process.pid).children()
    for one in [*drivers, psutil.Process(process.pid)]:
        one.kill()
    process.communicate()
    code, _, err = run("sweep.py", *argv)
    assert code == 0, err
    content = json.loads((tmp_path / "ray" / "sweep.json").read_text())
    on_ray = SweepResult(content=content, uri="", searches=[], consensus=[], files=())
    assert cells(on_ray) == cells(here)


def test_sigterm_stops_a_sweep_on_ray(tmp_path: Path) -> None:
    argv = arguments(tmp_path, num_workers=2, num_samples=100_000)
    process = start("sweep.py", *argv)
    wait_for(lambda: bool(list(tmp_path.glob("runs/*/measurements/*/*.parquet"))), process)
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.rstrip().endswith(
        "0 of 3 searches are done; stopped; run the same command again to continue"
    )


def test_what_is_not_allowed_never_starts_a_search(tmp_path: Path, evaluated: list[int]) -> None:
    with pytest.raises(ConfigError, match="objective"):
        sweep(tmp_path, set=["objective=best"])
    assert evaluated == []
