"""Pages about rankings and lists of trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from vl_convert import vegalite_to_svg

import nasi_ray
from nasi_ray.errors import RecordCorruptError
from nasi_ray.pages.blocks import Part, Table
from nasi_ray.pages.job import parts_of
from nasi_ray.pages.specs import still
from nasi_ray.spaces.nb201 import NB201
from nasi_ray.training import cells
from tests.pages.runs import HOSTILE
from tests.pages.test_pages import figures, texts
from tests.toy import Quiet
from tests.training.test_cells import both, job

pytestmark = pytest.mark.integration

__all__ = ["both"]

RANK: dict[str, Any] = {
    "architectures": "30", "proxies": ["num_params", "naswot"], "batch_size": 4, "image_size": 8,
    "num_channels": 2, "num_workers": 0, "progress": None, "seeds": [0, 1],
}  # fmt: skip


def tables(part: Part) -> dict[str, Table]:
    blocks = [block for section in part.sections for block in section.blocks]
    return {block.title: block for block in blocks if isinstance(block, Table)}


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ranking of 30 cells, with a table in which accuracies follow their position."""
    folder = tmp_path_factory.mktemp("ranking")
    names = [cell.to_string() for cell in NB201]
    values = [i / 200 for i in range(len(names))]
    columns = {"arch": names, "cifar10_test_accuracy_200ep": values}
    pq.write_table(pa.table(columns), folder / "table.parquet")
    table = str(folder / "table.parquet")
    nasi_ray.rank("nb201", table=table, out=str(folder / "run"), **RANK)
    return folder / "run"


def test_a_ranking_shows_correlations_with_intervals(ranking: Path) -> None:
    (part,) = parts_of(str(ranking))
    content = json.loads((ranking / "ranking.json").read_text())
    known = {p["name"]: p["spearman"] for p in content["proxies"] if p["spearman"]["value"]}
    best = max(known, key=lambda name: known[name]["value"])
    assert (
        f"{best} agrees best with accuracy: Spearman {known[best]['value']:+.3f}." in part.verdict
    )
    assert [s.title for s in part.sections] == [
        "Proxies", "Correlation with accuracy", "Error by tenth of the score",
        "Best and worst architectures", "How it was made",
    ]  # fmt: skip
    drawn = figures([part])
    rows = {row[0]: row[1:] for row in drawn["correlations"].rows}
    assert rows == {
        name: tuple(f"{rho[key]:+.3f}" for key in ("value", "low", "high"))
        for name, rho in known.items()
    }
    shown = drawn["correlations"].spec["data"]["values"]
    assert {row["name"]: row["state"] for row in shown} == {
        name: "not 0" if rho["low"] > 0 or rho["high"] < 0 else "may be 0"
        for name, rho in known.items()
    }
    assert {row[0] for row in drawn["deciles"].rows} == {p["name"] for p in content["proxies"]}
    ends = tables(part)["Both ends of each ranking"].rows
    assert len([row for row in ends if row[0] == "naswot"]) == 10
    assert not [text for text in texts([part]) if text.startswith("Not shown")]
    for figure in drawn.values():
        assert "<svg" in vegalite_to_svg(still(figure.spec))


def test_a_ranking_without_a_table_shows_scores(tmp_path: Path) -> None:
    nasi_ray.rank("nb201", out=str(tmp_path), **RANK)
    (part,) = parts_of(str(tmp_path))
    assert figures([part]) == {}
    assert [row[0] for row in tables(part)["Scores"].rows] == [
        "num_params",
        "multiply_adds",
        "naswot",
    ]
    assert Path(nasi_ray.report(str(tmp_path))).read_text().count("<article") == 1


def test_a_ranking_from_outside_stays_text_and_a_damaged_one_is_an_error(
    ranking: Path, tmp_path: Path
) -> None:
    content = json.loads((ranking / "ranking.json").read_text())
    content["warnings"] = [HOSTILE]
    (tmp_path / "ranking.json").write_text(json.dumps(content))
    page = Path(nasi_ray.report(str(tmp_path))).read_text()
    assert "<script>alert(1)" not in page
    for proxy in content["proxies"]:
        del proxy["deciles"]
    (tmp_path / "ranking.json").write_text(json.dumps(content))
    (part,) = parts_of(str(tmp_path))
    assert "Not shown: a file has no 'deciles'; another version may have written it." in texts(
        [part]
    )
    (tmp_path / "ranking.json").write_text('{"schema": "nasi_ray.ranking/1", "proxies": 3}')
    with pytest.raises(RecordCorruptError, match=r"ranking\.json lacks 'seeds'"):
        parts_of(str(tmp_path))


def test_a_list_of_trainings_shows_accuracies_sorted(both: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cells.run_cells(job(both, out, seeds=(3, 5)), Quiet())
    (part,) = parts_of(str(out))
    stored = pq.read_table(out / "accuracies.parquet")
    means = sorted(float(np.mean(v)) for v in stored["random_test_accuracy_1ep"].to_pylist())
    assert part.title == "Trainings of 2 cells"
    assert part.verdict == (
        f"4 trainings of 2 cells by recipe quick: top-1 from {means[0]:.2f} to {means[1]:.2f} %, "
        f"median {sum(means) / 2:.2f} %."
    )
    rows = tables(part)["All cells, the best first"].rows
    assert [row[:2] for row in rows] == [(1, f"{means[1]:.2f}"), (2, f"{means[0]:.2f}")]
    assert {row[3] for row in rows} == {"3, 5"}
    (figure,) = figures([part]).values()
    assert sum(int(str(row[2])) for row in figure.rows) == 2
    assert "<svg" in vegalite_to_svg(still(figure.spec))
    assert Path(nasi_ray.report(str(out))).read_text().count("<article") == 1


def test_a_torn_table_of_trainings_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "accuracies.parquet").write_bytes(b"PAR1torn")
    with pytest.raises(RecordCorruptError, match=r"accuracies\.parquet cannot be read"):
        parts_of(str(tmp_path))
