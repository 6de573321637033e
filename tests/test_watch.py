"""The progress of runs that others make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nasi_ray
from nasi_ray.command import main
from nasi_ray.errors import ConfigError, NasiRayError, RecordConflictError, RecordCorruptError
from nasi_ray.watch import WatchJob, watch
from tests.toy import Quiet
from tests.training.trainings import TINY as TINY_TRAINING
from tests.training.trainings import train

TINY: dict[str, Any] = {
    "batch_size": 2,
    "image_size": 8,
    "init_channels": 2,
    "num_cells": 3,
    "num_workers": 0,
    "progress": None,
}

pytestmark = pytest.mark.usefixtures("blank_pictures")


def counts(run: Path, **settings: Any) -> tuple[int, int, str]:
    state = watch(WatchJob(run=str(run), **settings), Quiet())
    return state.num_done, state.num_total, state.unit


def search(out: Path, **settings: Any) -> None:
    nasi_ray.search("nb201", out=str(out), **{**TINY, **settings})


def test_a_search_is_watched_until_it_is_done(tmp_path: Path) -> None:
    search(tmp_path, num_samples=3)
    assert counts(tmp_path) == (3, 3, "samples")
    settings = tmp_path / "settings.yaml"
    settings.write_text(settings.read_text().replace("num_samples: 3", "num_samples: 5"))
    assert counts(tmp_path, once=True) == (3, 5, "samples")
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            search(tmp_path, num_samples=5)

    progress = Quiet()
    state = watch(WatchJob(run=str(tmp_path), interval_s=7.0), progress, sleep=sleep)
    assert looks == [7.0, 7.0]
    assert [s.num_done for s in progress.states] == [3, 3, 5]
    assert state.num_done == 5


@pytest.mark.integration
def test_all_series_and_searches_of_a_sweep_count(tmp_path: Path) -> None:
    nasi_ray.sweep("nb201", seeds=[0, 1], num_samples=3, set=["mu=1,2"], out=str(tmp_path), **TINY)
    assert counts(tmp_path) == (6, 6, "samples")
    settings = tmp_path / "settings.yaml"
    settings.write_text(settings.read_text().replace("- 1\n", "- '1:4'\n", 1))
    assert counts(tmp_path, once=True) == (6, 12, "samples")
    search(tmp_path / "one", num_samples=2, measure=["naswot", "snip"])
    assert counts(tmp_path / "one") == (4, 4, "samples")


def test_a_search_that_ends_by_itself_is_done(tmp_path: Path) -> None:
    search(tmp_path, num_samples=60, stop_when_stable=1e-9)
    assert counts(tmp_path) == (50, 50, "samples")


def test_a_training_counts_epochs(tmp_path: Path) -> None:
    train(tmp_path)
    epochs = TINY_TRAINING["epochs"]
    assert counts(tmp_path) == (epochs, epochs, "epochs")


def test_silence_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search(tmp_path, num_samples=2)
    settings = tmp_path / "settings.yaml"
    settings.write_text(settings.read_text().replace("num_samples: 2", "num_samples: 5"))
    clock = iter(range(0, 1000, 70))
    monkeypatch.setattr("nasi_ray.watch.time.monotonic", lambda: float(next(clock)))
    progress = Quiet()

    def sleep(seconds: float) -> None:
        if progress.messages:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(WatchJob(run=str(tmp_path)), progress, sleep=sleep)
    (line,) = progress.messages
    assert line.startswith("nothing new for 120 s; if no process works on")


def test_what_cannot_be_watched_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordConflictError, match="holds no run; name the --out of a search"):
        watch(WatchJob(run=str(tmp_path)), Quiet())
    nasi_ray.rank(
        "nb201",
        architectures="2",
        proxies=["num_params"],
        out=str(tmp_path / "r"),
        num_workers=0,
        progress=None,
    )
    with pytest.raises(RecordConflictError, match="is the run of a rank; watch shows search, sw"):
        watch(WatchJob(run=str(tmp_path / "r")), Quiet())
    for text in ("[", "job", "job: search\nspace: s9\n", "job: search\nnum_samples: many\n"):
        (tmp_path / "settings.yaml").write_text(text)
        with pytest.raises(NasiRayError) as caught:
            watch(WatchJob(run=str(tmp_path)), Quiet())
        assert isinstance(caught.value, RecordCorruptError), text
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="interval_s is 0"):
        WatchJob(run="x", interval_s=0)


def test_the_command_shows_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(tmp_path, num_samples=2)
    assert main(["watch", str(tmp_path)]) == 0
    assert "2/2 samples" in capsys.readouterr().err
