"""Pages about runs: what they show, what they say of what is gone, and texts from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from vl_convert import vegalite_to_svg

import nasi_ray
from nasi_ray.command import main
from nasi_ray.errors import ConfigError, RecordConflictError, RecordCorruptError
from nasi_ray.pages.blocks import Explorer, Figure, Note, Part, Section, Table
from nasi_ray.pages.html import json_in_html, to_html
from nasi_ray.pages.job import parts_of
from nasi_ray.pages.lanes import drawn
from nasi_ray.pages.specs import ORANGE, still
from nasi_ray.storage import LocalStorage
from nasi_ray.training.metrics import COLUMNS, write_metrics
from tests.pages.runs import HOSTILE, make_run, make_sweep


def texts(parts: list[Part]) -> list[str]:
    return [b.text for p in parts for s in p.sections for b in s.blocks if isinstance(b, Note)]


def figures(parts: list[Part]) -> dict[str, Figure]:
    blocks = [b for p in parts for s in p.sections for b in s.blocks]
    return {b.name: b for b in blocks if isinstance(b, Figure)}


def page_data(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', html, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def images(path: Path, classes: tuple[str, ...]) -> str:
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        pixels = np.full((8, 8, 3), 40 * number + 9, dtype=np.uint8)
        pixels[number] = 200
        Image.fromarray(pixels).save(path / name / "0.png")
    return str(path)


def test_a_search_has_every_part(tmp_path: Path) -> None:
    data = images(tmp_path / "data", ("cats", "dogs"))
    parts = parts_of(make_run(tmp_path / "run", data=data))
    assert [section.title for section in parts[0].sections] == [
        *("The cell", "Decisions", "Candidates", "Samples", "ν and μ", "Size of the network"),
        *("Data", "Work", "How it was made"),
    ]
    assert not [text for text in texts(parts) if "ot shown" in text]
    assert set(figures(parts)) == {
        *("normal-cell", "reduce-cell", "decisions", "settled", "candidates-op"),
        *("candidates-input", "samples", "histogram", "map", "classes", "workers"),
    }
    assert parts[0].verdict.startswith("darts: the cell below; ")


@pytest.mark.parametrize("space", ["darts", "nb201"])
def test_every_figure_can_be_drawn(space: str, tmp_path: Path) -> None:
    for name, figure in figures(parts_of(make_run(tmp_path, space=space))).items():
        drawn = vegalite_to_svg(still(figure.spec))
        assert drawn.startswith("<svg"), name
        assert figure.rows, name


@pytest.mark.parametrize("space", ["darts", "s1", "nb201"])
def test_the_lanes_show_the_cell_of_the_answer(space: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, space=space)
    found = figures(parts_of(run))
    result = json.loads((tmp_path / "result.json").read_text())
    if space == "darts":
        for cell, name in (("normal", "normal-cell"), ("reduce", "reduce-cell")):
            edges = [(op, ("c_{k-2}", "c_{k-1}", "node0", "node1", "node2")[source])
                     for op, source in result["genotype"][cell]]  # fmt: skip
            assert [(row[1], row[3]) for row in found[name].rows] == edges
    elif space == "nb201":
        ops = re.findall(r"(\w+)~", result["architecture"])
        assert [row[1] for row in found["cell"].rows] == ops
    else:
        parents = result["architecture"].partition("|")[0].split(";")
        names = ("input", "block1", "block2", "block3", "block4")
        shown = [
            [names.index(name) for name in str(row[3]).split(", ")] for row in found["cell"].rows
        ]
        assert shown == [[int(i) for i in text.split(",")] for text in parents]


def test_a_choice_of_sources_that_is_open_shows_how_sure_it_is() -> None:
    row = {"target": "node1", "op": "skip_connect", "opShare": 1.0}
    rows = [
        {**row, "sources": ["c_{k-2}", "c_{k-1}"], "sourceShare": 0.629},
        {**row, "sources": ["node0"], "sourceShare": 0.95},
        {**row, "sources": ["node0"], "sourceShare": None},
    ]
    shapes = drawn(["c_{k-2}", "c_{k-1}", "node0", "node1"], rows)
    shares = [shape for shape in shapes if shape["part"] == "share"]
    assert shares == [{"part": "share", "x": 1, "y": 0, "text": "62 %"}]


def work(run: str) -> tuple[Figure, list[dict[str, Any]]]:
    figure = figures(parts_of(run))["workers"]
    return figure, figure.spec["data"]["values"]


def test_workers_time_is_when_they_worked(tmp_path: Path) -> None:
    """Three samples, then a pause of two minutes, another sample after it, and one much later."""
    ended = {0: 1000.5, 1: 1001.0, 2: 1003.0, 3: 1123.5, 4: 1133.5}
    figure, rows = work(make_run(tmp_path, num_samples=5, ended=ended))
    starts = [0.0, 0.5, 2.5, 3.0, 13.0]
    assert [(row["start"], row["end"]) for row in rows] == [(s, s + 0.5) for s in starts]
    assert "began at 1970-01-01 00:16:40 UTC" in figure.about
    assert "1 pause is left out (0:02:00 without any sample)" in figure.about


def test_thousands_of_samples_are_a_few_hundred_bars(tmp_path: Path) -> None:
    ended = {t: 100.0 + 0.5 * t for t in range(2000)}
    _, rows = work(make_run(tmp_path, num_samples=2000, ended=ended))
    assert len(rows) == 400
    assert rows[0]["tip"] == "toy: 5 samples, 0 to 4, 2.5 s"
    assert (rows[-1]["start"], rows[-1]["end"]) == (997.5, 1000.0)


def test_workers_time_of_an_older_program_is_without_waiting(tmp_path: Path) -> None:
    figure, rows = work(make_run(tmp_path, num_samples=3))
    assert [(row["start"], row["end"]) for row in rows] == [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)]
    assert "did not record when" in figure.about


def test_a_page_is_one_file_of_moderate_size(tmp_path: Path) -> None:
    run = make_run(tmp_path, num_samples=60)
    html = to_html(parts_of(run)).decode()
    assert len(html) < 5e6
    assert "default-src 'none'" in html
    shown = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', shown) == []
    ids = re.findall(r' id="([^"]+)"', shown)
    assert len(ids) == len(set(ids))
    assert set(page_data(html)["figures"]) <= set(ids)
    assert set(page_data(html)["explorers"]) <= set(ids)


def test_texts_from_outside_stay_texts(tmp_path: Path) -> None:
    data = images(tmp_path / "data", ("<img src=x onerror=alert(1)>", "{{ 7 * 7 }}"))
    run = make_run(tmp_path / "run", data=data, worker=HOSTILE, settings={"note": HOSTILE})
    html = to_html(parts_of(run)).decode()
    plain = to_html(parts_of(make_run(tmp_path / "plain"))).decode()
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "{{ 7 * 7 }}" in html
    assert html.count("<script") == plain.count("<script")
    assert HOSTILE in json.dumps(page_data(html), ensure_ascii=False).replace('\\"', '"')
    checked = _Checked()
    checked.feed(html)
    assert checked.handlers == []


class _Checked(HTMLParser):
    """Collects attributes that would run a script."""

    def __init__(self) -> None:
        super().__init__()
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_json_in_a_page_ends_no_element_and_has_finite_numbers() -> None:
    text = json_in_html({"</script>": ["<!--", float("nan"), float("inf"), 1.5, "&"]})
    assert "<" not in text
    assert json.loads(text) == {"</script>": ["<!--", None, None, 1.5, "&"]}


_MADE_TWICE = """
import pathlib, sys
from nasi_ray.pages import html
from nasi_ray.pages.blocks import Part

made = []
bundle = html.javascript_bundle
html.javascript_bundle = lambda **given: made.append(given) or bundle(**given)
part = Part(title="a", verdict="", sections=())
pages = []
for damage in sys.argv[1:]:
    html._library.cache_clear()
    pages.append(html.to_html([part]))
    if damage == "bytes":
        for kept in pathlib.Path(html.user_cache_path("nasi_ray")).iterdir():
            kept.write_bytes(b"\\xff")
print(len(made), len(set(pages)))
"""


@pytest.mark.parametrize(
    ("cache", "damage", "made"),
    [("new", "none", 1), ("new", "bytes", 3), ("file/below", "none", 3)],
)
def test_the_library_is_made_once(tmp_path: Path, cache: str, damage: str, made: int) -> None:
    (tmp_path / "file").touch()
    found = subprocess.run(
        [sys.executable, "-c", _MADE_TWICE, *[damage] * 3],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == f"{made} 1\n"


def test_what_is_gone_is_said_in_a_line(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for part in (tmp_path / "samples").iterdir():
        part.unlink()
    for name in ("settings.yaml", "cell.svg"):
        (tmp_path / name).unlink(missing_ok=True)
    parts = parts_of(run)
    said = texts(parts)
    assert sum("the records" in text and "are gone" in text for text in said) >= 4
    assert any("has no settings.yaml" in text for text in said)
    assert "normal-cell" in figures(parts)
    assert b"Not shown: the records of" in to_html(parts)


def test_data_that_is_not_here_is_not_looked_for(tmp_path: Path) -> None:
    said = texts(parts_of(make_run(tmp_path, data="CIFAR10")))
    assert "The images of CIFAR10 are not on this machine; --data says where." in said


def test_a_damaged_answer_is_an_error_and_a_damaged_field_is_not(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    result["alpha"]["normal/node0/op"] = [1.0]
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(RecordCorruptError, match="run the search again"):
        parts_of(run)
    (tmp_path / "result.json").write_text("[")
    with pytest.raises(RecordCorruptError, match="cannot be read"):
        parts_of(run)


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordConflictError, match="nothing to report; name the --out"):
        nasi_ray.report(str(tmp_path))
    with pytest.raises(ConfigError, match=r"out is 'page'; give a file that ends in \.html"):
        nasi_ray.report(str(tmp_path), out="page")


def test_a_sweep_shows_the_consensus_and_the_seeds(tmp_path: Path) -> None:
    parts = parts_of(make_sweep(tmp_path))
    assert len(parts) == 1
    found = figures(parts)
    assert {"cell", "votes", "seeds", "decisions", "candidates-op"} <= set(found)
    assert {row[1] for row in found["seeds"].rows} == {"0", "1", "2"}
    assert re.findall(r">([0-9.]+)</text>", vegalite_to_svg(still(found["votes"].spec))) == [
        *("0", "1", "2", "3")
    ]
    assert not [text for text in texts(parts) if "ot shown" in text]
    assert "of 3 seeds together, |" in parts[0].verdict


def test_a_sweep_shows_its_images_and_who_worked_on_all_of_its_runs(tmp_path: Path) -> None:
    """Two seeds on a worker, one after the other; the third is of an older program."""
    uri = make_sweep(tmp_path / "sweep")
    for seed in range(2):
        run, ended = tmp_path / "sweep" / "runs" / f"seed{seed}", 100.0 * (seed + 1)
        shutil.rmtree(run)
        make_run(run, space="nb201", seed=seed, num_samples=2, ended={0: ended, 1: ended + 1})
    data = images(tmp_path / "data", ("cats", "dogs"))
    parts = parts_of(uri, data=data)
    assert [row[0] for row in figures(parts)["classes"].rows] == ["0: cats", "1: dogs"]
    assert "34 samples took 0:00:17 of all workers" in " ".join(texts(parts))
    shutil.rmtree(tmp_path / "sweep" / "runs" / "seed2")
    tips = [row["tip"] for row in figures(parts_of(uri))["workers"].spec["data"]["values"]]
    assert tips == [f"toy, seed{seed}: sample {i}, 0.5 s" for seed in range(2) for i in range(2)]


def test_each_combination_of_a_sweep_is_drawn_with_its_own_pairing(tmp_path: Path) -> None:
    pairings = ("rank", "shared-op")
    uri = make_sweep(tmp_path, space="darts", pairings=pairings)
    content = json.loads((tmp_path / "sweep.json").read_text())
    parts = parts_of(uri)
    assert [part.title.rpartition("pairing=")[2] for part in parts] == [*pairings]
    for part, pairing, point in zip(parts, pairings, content["combinations"], strict=True):
        drawn = figures([part])
        for cell in ("normal", "reduce"):
            operations = [row[1] for row in drawn[f"{cell}-cell"].rows]
            # As the genotype of the consensus has them, two a node.
            assert operations == [op for op, _ in point["consensus"]["genotype"][cell]]
            assert (operations[::2] == operations[1::2]) == (pairing == "shared-op")
        (explorer,) = (b for s in part.sections for b in s.blocks if isinstance(b, Explorer))
        ranks = [slot["op"][1] for slot in explorer.content["slots"]]
        assert ranks == ([0, 0] if pairing == "shared-op" else [0, 1]) * 8


def test_a_sweep_without_its_runs_says_so(tmp_path: Path) -> None:
    uri = make_sweep(tmp_path)
    for answer in (tmp_path / "runs").glob("*/result.json"):
        answer.unlink()
    assert "Not shown: the answers of the seeds' runs are gone." in texts(parts_of(uri))


def make_training(path: Path) -> str:
    rows = [dict.fromkeys(COLUMNS, 1.0) | {"epoch": epoch, "time": 0.0} for epoch in (1, 2)]
    write_metrics(LocalStorage(path), rows)
    return str(path)


def test_a_training_shows_its_curves(tmp_path: Path) -> None:
    (part,) = parts_of(make_training(tmp_path))
    assert part.verdict.startswith("This training is not done: 2 epochs so far")
    assert {"loss", "accuracy", "rate", "speed"} == set(figures([part]))


@pytest.mark.parametrize(("second", "from_zero"), [(1.0, True), (2.0, False)])
def test_the_axis_of_a_constant_begins_at_zero(
    second: float, from_zero: bool, tmp_path: Path
) -> None:
    usual = dict.fromkeys(COLUMNS, 1.0) | {"time": 0.0}
    rows = [usual | {"epoch": 1.0 + i, "lr": lr} for i, lr in enumerate((1.0, second))]
    write_metrics(LocalStorage(tmp_path), rows)
    svg = vegalite_to_svg(figures(parts_of(str(tmp_path)))["rate"].spec)
    assert (">0.0<" in svg) is from_zero
    assert ">1.0<" in svg


@pytest.mark.parametrize(
    ("loss", "headings"),
    [
        ("cross-entropy", ("epoch", "train", "test")),
        ("bce", ("epoch", "train, binary cross-entropy", "test, cross-entropy")),
    ],
)
def test_losses_of_two_kinds_are_told_apart(
    loss: str, headings: tuple[str, ...], tmp_path: Path
) -> None:
    uri = make_training(tmp_path)
    (tmp_path / "settings.yaml").write_text(f"loss: {loss}\n")
    assert figures(parts_of(uri))["loss"].headings == headings


TRAINED = {
    **dict.fromkeys(("num_cells", "parameters", "num_train_images", "num_test_images"), 5),
    **dict.fromkeys(("init_channels", "image_size", "epochs", "top1", "top5"), 5),
    "schema": "nasi_ray.training/1",
    "space": "darts",
    "recipe": "quick",
    "data": "images",
    "best": {"top1": 5, "epoch": 5},
}


def test_a_training_shows_its_images_unless_its_search_does(tmp_path: Path) -> None:
    data = images(tmp_path / "data", ("cats", "dogs"))
    settings = f"job: train\ndata: {data}\n".encode()
    for folder in ("train", "run/train"):
        storage = LocalStorage(Path(make_training(tmp_path / folder)))
        storage.write("settings.yaml", settings)
        if folder != "train":
            storage.write("result.json", json.dumps(TRAINED).encode())
    assert "classes" in figures(parts_of(str(tmp_path / "train")))
    make_run(tmp_path / "run", data=data)
    search, training = parts_of(str(tmp_path / "run"))
    assert "classes" in figures([search])
    assert "classes" not in figures([training])


STUDY = """# Table 2 <b>

    nasi-ray study x

![figure](figure.svg)

- *Errors*: of `s1`.
- Times: of this machine,
  on two lines.

α* is **kept**.

### Cells & <i>sizes</i>

| cell | error, % |
|---|---|
| \\|a~0\\| | 5.80 |
| b | – |
"""


def test_a_study_shows_its_text_and_command(tmp_path: Path) -> None:
    content = {"schema": "nasi_ray.study/2", "command": "nasi-ray study x", "runs": []}
    (tmp_path / "table2.json").write_text(json.dumps(content))
    (tmp_path / "table2.md").write_text(STUDY)
    parts = parts_of(str(tmp_path))
    html = to_html(parts).decode()
    assert "<h1>Table 2 &lt;b&gt;</h1>" in html
    assert "nasi-ray study x" in html
    results, cells = parts[0].sections[1:3]
    assert (results.title, cells.title) == ("Results", "Cells & <i>sizes</i>")
    assert [b.text for b in results.blocks if isinstance(b, Note)] == [
        "Errors: of `s1`.".replace("`", ""), "Times: of this machine, on two lines.", "α* is kept.",
    ]  # fmt: skip
    (table,) = cells.blocks
    assert isinstance(table, Table)
    assert (table.title, table.headings) == ("Table 1", ["cell", "error, %"])
    assert table.rows == [["|a~0|", "5.80"], ["b", "–"]]
    assert "&lt;i&gt;sizes" in html


def test_the_command_writes_a_page_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, drawn = make_training(tmp_path / "run"), tmp_path / "figures"
    page = tmp_path / "out.html"
    assert main(["report", run, run, "--out", str(page), "--figures", str(drawn)]) == 0
    assert capsys.readouterr().out.startswith(f"written: {page}, and ")
    assert (drawn / "1-loss.svg").read_text().startswith("<svg")
    assert (drawn / "2-rate.png").read_bytes().startswith(b"\x89PNG")
    assert page.read_text().count("<article") == 2


def test_no_operation_has_the_colour_of_what_is_open(tmp_path: Path) -> None:
    for space in ("darts", "s1", "nb201"):
        for figure in figures(parts_of(make_run(tmp_path / space, space=space))).values():
            shown = figure.spec["data"]["values"] if figure.live == "cell" else []
            assert ORANGE not in {shape.get("color") for shape in shown}
            assert not [shape for shape in shown if "-bn-relu" in shape.get("text", "")]


def test_a_section_says_which_field_is_missing() -> None:
    from nasi_ray.pages.files import section

    def fail() -> list[Note]:
        raise KeyError("margins")

    expected = "Not shown: a file has no 'margins'; another version may have written it."
    assert section("x", fail) == Section(title="x", blocks=[Note(text=expected)])
