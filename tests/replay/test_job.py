"""Replays of stored runs: the cells of the search's own estimate, the files and the text."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import nasi_ray
from nasi_ray import command
from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.estimates import architecture_of, make_estimate, selected_cells
from nasi_ray.replay.map import map_files
from nasi_ray.replay.text import replay_lines
from nasi_ray.spaces import get_space
from nasi_ray.tables.accuracies import open_accuracies
from tests.nasi.test_estimates import ALLOWED, NUM, SETTINGS, records_of
from tests.replay.conftest import TINY

pytestmark = pytest.mark.usefixtures("blank_pictures")

POINTS: list[tuple[int, Any, float, Any]] = [(NUM, "sweep", 2.0, "fix"), (30, 0.7, 0.5, "ada")]


@pytest.mark.parametrize("name", ["nb201", "darts"])
def test_cells_are_those_of_the_estimate_itself(name: str) -> None:
    space = get_space(name)
    records = records_of(space)
    configs = [
        EstimateConfig(num_samples=num, objective=objective, estimator=estimator, nu=nu, mu=mu,
                       method=method)
        for objective, estimator in ALLOWED
        if name != "darts" or objective not in ("panel", "balanced")
        for num, nu, mu, method in POINTS
        if name != "darts" or (estimator != "second-order" and num == 30)
    ]  # fmt: skip
    if name == "nb201":
        configs.append(EstimateConfig(num_samples=NUM, max_params=5e5))
    found = selected_cells(records, space, configs, SETTINGS)
    for cell, config in zip(found, configs, strict=True):
        result = make_estimate(records, space, config, SETTINGS, num_draws=0)
        assert cell.to_string() == architecture_of(result, space, config).to_string(), config


def test_every_point_is_answered_as_the_run_answers_it(
    runs: list[str], evaluated: list[int]
) -> None:
    grid: dict[str, list[Any]] = {
        "mu": [0, 2],
        "nu": [0.01, "q30"],
        "num_samples": [4, 8],
        "normalize": ["max"],
    }
    found = nasi_ray.replay(runs, grid)
    points = found.content["points"]
    assert len(points) == 8
    for r, uri in enumerate(runs):
        run = nasi_ray.open_run(uri)
        for point in points:
            expected = run.cell(**point["settings"]).to_string()
            assert found.cells[point["cells"][r] - 1].to_string() == expected
    counts = Counter(number for point in points for number in point["cells"])
    for number, cell in enumerate(found.content["cells"], start=1):
        assert cell["num_selected"] == counts[number]
        assert cell["num_points"] == sum(number in point["cells"] for point in points)
        assert 1 <= cell["num_runs"] <= 2
    selected = [cell["num_selected"] for cell in found.content["cells"]]
    assert selected == sorted(selected, reverse=True)
    assert evaluated == []


def test_the_command_prints_a_table_and_writes_the_files(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    grid = ("--grid", "nu=0.001:10:log:3", "mu=0,2", "method=fix,ada")
    assert command.main(["replay", *runs, *grid, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("s1: 12 points × 2 runs select ")
    cells = [line for line in lines if line.startswith("cell ")]
    assert all(len(line) <= 80 for line in lines if not line.startswith(("cell ", "written to ")))
    assert len(cells) >= 3
    content = json.loads((out / "replay.json").read_text())
    assert len(content["points"]) == 12
    with (out / "replay.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert {row["seed"] for row in rows} == {"0", "1"}
    numbers = chain.from_iterable(point["cells"] for point in content["points"])
    for row, number in zip(rows, numbers, strict=True):
        assert row["architecture"] == content["cells"][number - 1]["architecture"]
    assert sorted(path.name for path in out.iterdir()) == [
        "map.png", "map.svg", "replay.csv", "replay.json"
    ]  # fmt: skip


def test_a_table_adds_errors(runs: list[str], data_dir: Path) -> None:
    found = nasi_ray.replay(runs, {"mu": [0, 2], "nu": [0.01]}, table=str(data_dir))
    errors = open_accuracies("s1", str(data_dir)).errors_percent(found.cells)  # type: ignore[arg-type]
    assert [cell["error_percent"] for cell in found.content["cells"]] == errors.tolist()
    assert f"{errors[0]:.2f} %" in "\n".join(replay_lines(found.content))
    assert found.to_pandas()["error_percent"].notna().all()


def test_without_nu_or_mu_there_is_no_map(runs: list[str], tmp_path: Path) -> None:
    found = nasi_ray.replay(runs, {"num_samples": [4, 8]}, out=str(tmp_path))
    assert found.files == ("replay.json", "replay.csv")
    assert map_files(found.content) == {}
    assert "num_samples: 4, 8" in "\n".join(replay_lines(found.content))
    frame = found.to_pandas()
    assert frame["num_samples"].tolist() == [4, 4, 8, 8]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"num_samples": [9]}, "num_samples is 9, which needs the first 9 samples, and"),
        ({"objective": ["panel"], "nu": [1]}, "the grid has nu, which objective panel does not"),
        ({"max_params": [10.0]}, "max_params is 10; no cell of s1 fits"),
        ({"objective": ["balanced"]}, "this run has no measurements; objective balanced needs"),
    ],
)
def test_what_the_runs_do_not_answer_is_refused(
    runs: list[str], grid: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        nasi_ray.replay(runs, grid)
    assert "\n" not in str(caught.value)


def test_a_wrong_grid_is_refused_before_a_run_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the grid has no setting 'mux'"):
        nasi_ray.replay(str(tmp_path / "none"), {"mux": [1]})


def test_runs_are_of_one_space(runs: list[str], tmp_path: Path) -> None:
    other = str(tmp_path / "nb201")
    nasi_ray.search("nb201", preset="nasi-ntk", num_samples=2, out=other, **TINY)
    with pytest.raises(ConfigError, match=r"is a search of s1 and .* one of nb201; give runs of"):
        nasi_ray.replay([*runs, other], {"mu": [0]})
