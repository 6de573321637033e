"""The command line of trainings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nasi_ray import command
from nasi_ray.config import ComputeSettings, SampleConfig
from nasi_ray.training.recipes import RECIPES
from nasi_ray.training.settings import job_after_search
from tests.jobs.command import call
from tests.training.trainings import CELL

SEARCH = (
    *("--space", "s1", "--num-samples", "6", "--batch-size", "4", "--image-size", "8"),
    *("--init-channels", "2", "--num-cells", "3", "--num-workers", "0"),
)


@pytest.fixture
def _quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that takes a second."""
    tiny = dataclasses.replace(
        RECIPES["quick"], image_size=8, epochs=1, batch_size=16, num_train_images=32
    )
    monkeypatch.setitem(RECIPES, "quick", tiny)


def status(*argv: str) -> int:
    """The exit status of ``nasi-ray argv``."""
    try:
        return command.main(argv)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.integration
@pytest.mark.usefixtures("_quicker")
def test_a_search_is_followed_by_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "run")
    args = ("search", *SEARCH, "--out", out, "--then-train", "quick")
    assert status(*args) == 0
    first, page = capsys.readouterr().out.splitlines()[-2:]
    assert page == f"page: {out}/report.html"
    assert first.startswith("s1 cell, C=8, ")
    assert first.endswith(f"in {out}/train: nasi_ray.load_model('{out}/train')")
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    trained = json.loads((tmp_path / "run" / "train" / "result.json").read_text())
    assert trained["architecture"] == found["architecture"]
    # The same command answers from both directories.
    monkeypatch.setattr("nasi_ray.training.job._train", None)
    assert status(*args) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [first, page]
    # The run directory of the search itself is no place for a training.
    assert status("train", "--genotype", CELL, "--num-workers", "0", "--out", out) == 2
    assert f"{out} is the run directory of a `search`" in capsys.readouterr().err


def test_a_recipe_that_is_not_known_ends_a_search_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert status("search", *SEARCH, "--out", str(out), "--then-train", "quikc") == 2
    assert "unknown recipe 'quikc'; choose one of cifar10" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.usefixtures("_quicker")
def test_the_script_is_the_command(tmp_path: Path) -> None:
    code, out, err = call(
        "train.py", "--genotype", CELL, "--num-cells", "3", "--num-workers", "0",
        "--out", tmp_path / "run", "--max-failures", "2",
    )  # fmt: skip
    assert code == 0
    assert out.startswith("darts cell, C=8, 3 cells, ")
    assert "note: no effect, since there are no workers: --max-failures" in err
    assert "epoch 1/1: loss " in err


def test_help_names_the_recipes_and_is_quick_to_make(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("train", "--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in RECIPES)
    assert "--micro-batch-size" in out


def test_a_training_after_a_search_runs_where_the_search_was_asked_to() -> None:
    found = [
        job_after_search(
            "quick", SampleConfig(), compute, space="darts", architecture=CELL, out="runs/x"
        ).compute
        for compute in (
            ComputeSettings(),
            ComputeSettings(label_selector="zone=a", capacity_timeout_s=9.0),
        )
    ]
    # Searches keep off the nodes of trainings by default.
    assert [(c.label_selector, c.capacity_timeout_s) for c in found] == [
        ("", "auto"),
        ("zone=a", 9.0),
    ]
