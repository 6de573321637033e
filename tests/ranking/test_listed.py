"""Lists of DARTS cells are ranked as a space is."""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from nasi_ray import read_scores
from nasi_ray.config import ComputeSettings
from nasi_ray.errors import ConfigError, DataError, RecordConflictError, RecordCorruptError
from nasi_ray.ranking.job import run_rank
from nasi_ray.ranking.settings import RankConfig, RankJob, make_rank_job
from nasi_ray.run.listed import LIST_NAME, read_list
from nasi_ray.spaces import SPACES, Genotype
from nasi_ray.statistics import partial_spearman
from tests.spaces.cells import DARTS_V2, random_genotype
from tests.toy import Quiet

pytestmark = pytest.mark.usefixtures("blank_pictures")

TINY = RankConfig(
    space="darts", batch_size=4, image_size=8, num_channels=2, num_cells=3, num_classes=3
)


def cells(count: int = 6) -> list[Genotype]:
    generator = random.Random(1)
    return [random_genotype(generator) for _ in range(count)]


def as_text(path: Path, found: list[Genotype]) -> str:
    """A file in every notation."""
    notations = ("key", "to_darts")
    lines = [getattr(cell, notations[i % 2]) for i, cell in enumerate(found)]
    texts = [line if isinstance(line, str) else line() for line in lines]
    path.write_text("# cells\n\n" + "\n".join(texts) + f"\nAGAIN = {found[0].to_darts()}\n")
    return str(path)


def as_table(path: Path, found: list[Genotype], **columns: list[Any]) -> str:
    keys = [json.dumps(cell.to_dict()) for cell in found]
    pq.write_table(pa.table({"genotype": keys, **columns}), path)
    return str(path)


def job(out: Path, architectures: str, **changes: Any) -> RankJob:
    return RankJob(
        scores=replace(TINY, **changes.pop("scores", {})),
        proxies=("synflow",),
        architectures=architectures,
        compute=ComputeSettings(num_workers=changes.pop("num_workers", 0)),
        out=str(out),
        **{"num_bootstrap": 0, **changes},
    )


@pytest.fixture(autouse=True)
def no_lists_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    monkeypatch.setattr(SPACES, "_added", {})


def test_text_and_tables_of_the_same_cells_are_the_same_list(tmp_path: Path) -> None:
    found = cells()
    text = read_list(as_text(tmp_path / "list.txt", found))
    table = read_list(as_table(tmp_path / "list.parquet", found))
    assert text.name == table.name
    assert list(text) == list(table) == found
    assert text.name != read_list(as_text(tmp_path / "other.txt", found[::-1])).name
    assert [text.index(cell) for cell in found] == list(range(len(found)))
    assert text.parse(found[2].to_darts()) == found[2]


def test_a_list_is_ranked_against_a_table_of_accuracies(tmp_path: Path) -> None:
    found = cells()
    accuracy = [90.0 + i for i in range(6)]
    table = as_table(tmp_path / "t.parquet", found[::-1], cifar10_val_accuracy=accuracy[::-1])
    listed = as_text(tmp_path / "list.txt", found)
    result = run_rank(job(tmp_path / "run", listed, table=table), Quiet())
    content = result.to_dict()
    assert content["architectures"]["num"] == 6
    assert content["metric"]["split"] == "valid"
    assert content["metric"]["epochs"] is None
    by_name = {entry["name"]: entry for entry in content["proxies"]}
    assert set(by_name) == {"num_params", "multiply_adds", "synflow"}
    scores = result.to_pandas()
    assert scores["genotype"].tolist() == [cell.key for cell in found]
    ok = np.isfinite(scores["synflow"].to_numpy())
    expected = partial_spearman(
        scores["synflow"].to_numpy()[ok],
        np.array(accuracy)[ok],
        scores["num_params"].to_numpy()[ok],
    )
    assert by_name["synflow"]["beyond_size"] == pytest.approx(expected)
    assert by_name["num_params"]["beyond_size"] is None
    assert "Mean validation error" in (tmp_path / "run/ranking.md").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run/scores.csv").read_text())))
    assert [float(row["error_percent"]) for row in rows] == [100 - a for a in accuracy]
    assert json.loads(rows[0]["genotype"]) == found[0].to_dict()


def test_the_records_answer_alone_and_the_settings_repeat_it(tmp_path: Path) -> None:
    listed = as_text(tmp_path / "list.txt", cells())
    first = run_rank(job(tmp_path / "run", listed), Quiet())
    SPACES._added.clear()
    read = read_scores(str(tmp_path / "run"))
    assert read.architectures() == cells()
    first_scores = first.scores.by_proxy["synflow"].scores
    assert np.array_equal(read.by_proxy["synflow"].scores, first_scores, equal_nan=True)
    settings = yaml.safe_load((tmp_path / "run/settings.yaml").read_text())
    assert (settings.pop("job"), settings["space"]) == ("rank", "darts")
    assert settings["architectures"] == listed
    again = run_rank(make_rank_job(settings), Quiet()).scores.by_proxy["synflow"].scores
    assert np.array_equal(again, first_scores, equal_nan=True)


def test_another_list_has_another_run_directory_and_is_refused_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = as_text(tmp_path / "one.txt", cells(2))
    other = as_text(tmp_path / "other.txt", cells(3))
    uris = {run_rank(replace(job(tmp_path, f), out=""), Quiet()).uri for f in (one, other)}
    assert len(uris) == 2
    run_rank(job(tmp_path / "run", one), Quiet())
    with pytest.raises(RecordConflictError, match='asked for space="darts-'):
        run_rank(job(tmp_path / "run", other), Quiet())


def test_an_altered_list_is_refused(tmp_path: Path) -> None:
    run_rank(job(tmp_path / "run", as_text(tmp_path / "list.txt", cells(2))), Quiet())
    file = tmp_path / "run" / LIST_NAME
    for content in (cells(1)[0].key.encode(), b"\xff", b"", None):
        SPACES._added.clear()
        file.unlink() if content is None else file.write_bytes(content)
        with pytest.raises(RecordCorruptError, match="does not hold the cells that were ranked"):
            read_scores(str(tmp_path / "run"))


@pytest.mark.parametrize("number_of_cells", [3, 4])
def test_the_number_of_cells_changes_the_network(tmp_path: Path, number_of_cells: int) -> None:
    listed = as_text(tmp_path / "list.txt", cells(1))
    asked = job(tmp_path / "run", listed, scores={"num_cells": number_of_cells})
    (entry, *_) = run_rank(asked, Quiet()).scores.by_proxy.values()
    from nasi_ray.networks.standalone_darts import DartsNetwork

    net = DartsNetwork(cells(1)[0], num_channels=2, num_cells=number_of_cells, num_classes=3)
    assert entry.scores.tolist() == [[sum(p.numel() for p in net.parameters())]]


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    for wanted in ("all", "12"):
        with pytest.raises(ConfigError, match=f"architectures is {wanted}, but DARTS cells"):
            read_list(wanted)
    with pytest.raises(DataError, match="cannot be read \\(No such file"):
        read_list(str(tmp_path / "no.txt"))
    file = tmp_path / "list.txt"
    for content, message in (
        (b"", "has no cell; give one cell a line"),
        (b"\xff\xfe\xff", "is not a text file"),
        (b"PAR1 torn", "cannot be read as Parquet"),
        (DARTS_V2.replace("\n", " ").encode() + b"\nnonsense\n", "line 2: no genotype can be read"),
        (b"x\n" * 9, "line 5: .*; and 4 more"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            read_list(str(file))
        assert len(str(caught.value).splitlines()) == 1
    pq.write_table(pa.table({"cell": ["x"]}), file)
    with pytest.raises(DataError, match="has columns cell; it needs 'genotype'"):
        read_list(str(file))
    pq.write_table(pa.table({"genotype": ["x"]}), file)
    with pytest.raises(DataError, match="row 1: no genotype"):
        read_list(str(file))


def test_a_cell_that_the_table_lacks_is_named(tmp_path: Path) -> None:
    found = cells(3)
    table = as_table(tmp_path / "t.parquet", found[:2], test_accuracy=[90.0, 91.0])
    with pytest.raises(DataError, match="1 of the 3 architectures asked for is missing"):
        run_rank(job(tmp_path / "run", as_text(tmp_path / "l.txt", found), table=table), Quiet())


@pytest.mark.integration
def test_workers_on_ray_know_the_list(tmp_path: Path) -> None:
    listed = as_text(tmp_path / "list.txt", cells())
    found = [
        run_rank(job(tmp_path / str(n), listed, num_workers=n), Quiet()).scores for n in (0, 2)
    ]
    one, other = (scores.by_proxy["synflow"].scores for scores in found)
    assert np.array_equal(one, other, equal_nan=True)
