"""Finalists whose validation accuracies are looked up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nasi_ray
from nasi_ray.errors import ConfigError, DataError, NasiRayError, UnknownNameError
from nasi_ray.finalists.outcome import Outcome, best_of
from nasi_ray.finalists.table import open_validation
from nasi_ray.spaces import get_tabular_space
from nasi_ray.spaces.nb201 import NB201
from nasi_ray.sweep.settings import make_sweep_job
from tests.jobs.command import call

TINY = [
    *("--space", "nb201", "--num-samples", "6", "--batch-size", "2", "--image-size", "8"),
    *("--init-channels", "2", "--num-cells", "3", "--num-workers", "0"),
]
VALID = "cifar10_valid_accuracy_12ep"

pytestmark = pytest.mark.usefixtures("blank_pictures")


def write(path: Path, *columns: str) -> str:
    """A table in which the cell at position i of the space has accuracy i / 200."""
    names = [cell.to_string() for cell in NB201]
    values = [i / 200 for i in range(len(names))]
    pq.write_table(pa.table({"arch": names, **dict.fromkeys(columns, values)}), path)
    return str(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tables") / "table.parquet"
    names = (VALID, "cifar10_valid_accuracy_200ep", "cifar10_test_accuracy_200ep")
    return write(path, *names, "cifar100_valid_accuracy_6ep")


def test_the_column_is_validation_accuracy_after_the_shortest_schedule(table: str) -> None:
    assert open_validation("nb201", table).metric.column == VALID
    longer = "cifar10_valid_accuracy_200ep"
    assert open_validation("nb201", table, longer).metric.column == longer


def test_a_test_accuracy_chooses_no_cell(table: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"a test accuracy; .*choose a validation.*{VALID}"):
        open_validation("nb201", table, "cifar10_test_accuracy_200ep")
    with pytest.raises(UnknownNameError, match="'accuracy'; choose one of"):
        open_validation("nb201", table, "accuracy")
    only = write(tmp_path / "test.parquet", "cifar10_test_accuracy_200ep")
    with pytest.raises(DataError, match="has no validation accuracy"):
        open_validation("nb201", only)
    others = ("cifar100_valid_accuracy_12ep", "imagenet16_120_valid_accuracy_12ep")
    several = write(tmp_path / "several.parquet", *others)
    with pytest.raises(DataError, match="on cifar100, imagenet16_120; choose one with"):
        open_validation("nb201", several)


def test_the_answer_is_the_best_that_ended_and_ties_go_to_the_better_score() -> None:
    ends = [
        Outcome(valid_accuracy=60.0, epochs=12),
        Outcome(valid_accuracy=70.0, epochs=12),
        Outcome(valid_accuracy=70.0, epochs=12),
        Outcome(valid_accuracy=99.0, epochs=3, is_stopped=True),
        Outcome(valid_accuracy=99.0, epochs=4, failure="the loss is nan"),
    ]
    assert best_of(ends) == 1
    assert best_of(ends[3:]) is None


@pytest.mark.integration
def test_a_search_answers_with_the_best_of_its_finalists(table: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = ["--finalists", "4", "--finalists-table", table, "--out", str(out)]
    status, text, _ = call("search.py", *TINY, *flags)
    assert status == 0
    content = json.loads((out / "finalists.json").read_text())
    cells = content["cells"]
    own = json.loads((out / "result.json").read_text())
    assert cells[0]["architecture"] == own["architecture"]
    expected = [NB201.index(NB201.parse(cell["architecture"])) / 200 for cell in cells]
    assert [cell["valid_accuracy"] for cell in cells] == expected
    best = cells[content["answer"] - 1]
    assert best["valid_accuracy"] == max(expected)
    assert content["architecture"] == best["architecture"]
    assert (content["metric"], {cell["epochs"] for cell in cells}) == (VALID, {12})
    assert "4 look-ups of cifar10_valid_accuracy_12ep" in " ".join(text.split())
    assert max(map(len, text.partition("Finalists:")[2].splitlines()[:12])) <= 80
    assert {"finalist.svg", "finalist.png"} <= {path.name for path in out.iterdir()}
    before = (out / "finalists.json").read_bytes()
    assert call("search.py", *TINY, *flags)[0] == 0
    assert (out / "finalists.json").read_bytes() == before


@pytest.mark.integration
def test_the_finalists_of_a_sweep_are_those_of_the_mean_score(table: str, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    flags = ["--seeds", "0:2", "--finalists", "3", "--finalists-table", table, "--out", str(out)]
    assert call("sweep.py", *TINY, *flags)[0] == 0
    content = json.loads((out / "finalists.json").read_text())
    (point,) = json.loads((out / "sweep.json").read_text())["combinations"]
    assert content["cells"][0]["architecture"] == point["consensus"]["architecture"]
    limited = ["--set", "max_params=300000", "--out", str(tmp_path / "limited")]
    assert call("sweep.py", *TINY, *flags, *limited)[0] == 0
    cells = json.loads((tmp_path / "limited" / "finalists.json").read_text())["cells"]
    (point,) = json.loads((tmp_path / "limited" / "sweep.json").read_text())["combinations"]
    assert cells[0]["architecture"] == point["consensus"]["architecture"]
    sizes = [get_tabular_space("nb201").parse(cell["architecture"]).num_params() for cell in cells]
    assert max(sizes) <= 300_000
    with pytest.raises(
        ConfigError, match="--set makes 2 combinations, but finalists need a single"
    ):
        make_sweep_job({"finalists": 3, "set": ["batch_size=2,4"]})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"finalists": 1}, "finalists is 1; give 2 to 1000 cells"),
        ({"finalists": 9999}, "finalists is 9999; give 2 to 1000"),
        ({"finalists_table": "t.parquet"}, "finalists_table is given without finalists"),
        ({"finalists": 3, "finalists_metric": VALID}, "without a table"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        nasi_ray.search("nb201", **settings)


@pytest.mark.parametrize(
    ("flags", "status", "why"),
    [
        (["--finalists", "3"], 2, "data is 'random', but finalists are"),
        (["--finalists", "3", "--finalists-recipe", "fast"], 2, "unknown recipe 'fast'"),
        (
            ["--finalists", "3", "--finalists-recipe", "imagenet", "--data", "d"],
            2,
            "recipe imagenet has no network for cells of nb201",
        ),
        (["--finalists", "3", "--finalists-table", "/nothing"], 1, "there is no table"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    flags: list[str], status: int, why: str, tmp_path: Path
) -> None:
    found, _, error = call("search.py", *TINY, *flags, "--out", str(tmp_path / "run"))
    assert (found, why in error, len(error.splitlines())) == (status, True, 1)
    assert not (tmp_path / "run").exists()
    with pytest.raises(NasiRayError, match="which works only with a command"):
        nasi_ray.search("nb201", finalists=3, progress=None)


def settings() -> dict[str, Any]:
    names = [name.removeprefix("--").replace("-", "_") for name in TINY[::2]]
    values = [int(value) if value.isdigit() else value for value in TINY[1::2]]
    return {**dict(zip(names, values, strict=True)), "progress": None}


@pytest.mark.integration
def test_python_finds_what_the_command_finds(table: str, tmp_path: Path) -> None:
    out, given = tmp_path / "run", {**settings(), "finalists_table": table}
    found = nasi_ray.finalists(count=4, out=str(out), **given)
    flags = ["--finalists", "4", "--finalists-table", table, "--out", str(tmp_path / "other")]
    assert call("search.py", *TINY, *flags)[0] == 0
    other = json.loads((tmp_path / "other" / "finalists.json").read_text())
    assert found.to_dict()["cells"] == other["cells"]
    assert json.loads((out / "finalists.json").read_text()) == found.to_dict()
    frame = found.to_pandas()
    assert frame["rank"].tolist() == [1, 2, 3, 4]
    assert found.architecture.to_string() == frame["architecture"][found.content["answer"] - 1]
    (search,) = found.searches
    assert search.architecture.to_string() == frame["architecture"][0]
    assert repr(found) == f"FinalistResult('nb201', number {other['answer']} of 4, '{out}')"
    assert found._repr_svg_() is None
    # It is the sweep of the command, too.
    swept = nasi_ray.finalists(count=4, seeds=range(2), out=str(tmp_path / "sweep"), **given)
    assert [one.content["seed"] for one in swept.searches] == [0, 1]
    assert (tmp_path / "sweep" / "sweep.json").exists()


@pytest.mark.parametrize("count", [0, 1, 1001])
def test_python_refuses_what_cannot_be_compared(count: int, table: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"give 2 to 1000 cells to compare|add --finalists 8"):
        nasi_ray.finalists(
            count=count, out=str(tmp_path / "run"), finalists_table=table, **settings()
        )
    with pytest.raises(ConfigError, match=r"nasi_ray\.train"):
        nasi_ray.finalists(count=4, then_train="quick", finalists_table=table, **settings())
    assert not (tmp_path / "run").exists()
