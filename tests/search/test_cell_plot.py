"""The drawing of a genotype: readable, complete, reproducible."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from nasi_ray.search.cell_plot import (
    KINDS,
    OP_KINDS,
    USUAL_KINDS,
    plot_genotype,
    save_genotype_plot,
)
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.spaces.genotype import DARTS_OPS, GENOTYPE_OPS, Edge
from tests.spaces.cells import random_genotype

CONCAT = (2, 3, 4, 5)
WORST_INPUTS = {
    "all from one input": (0, 0, 0, 0, 0, 0, 0, 0),
    "all from the other input": (1, 1, 1, 1, 1, 1, 1, 1),
    "chain": (0, 1, 2, 0, 3, 1, 4, 0),
    "chain of twins": (0, 0, 2, 2, 3, 3, 4, 4),
    "two chains": (0, 1, 1, 0, 2, 3, 3, 2),
    "long reach": (0, 1, 2, 1, 3, 2, 2, 1),
}


def _cell(inputs: tuple[int, ...], shift: int = 0) -> tuple[Edge, ...]:
    return tuple((DARTS_OPS[(i + shift) % len(DARTS_OPS)], n) for i, n in enumerate(inputs))


def _genotype(normal: tuple[int, ...], reduce: tuple[int, ...], shift: int = 0) -> Genotype:
    return Genotype(
        normal=_cell(normal, shift),
        normal_concat=CONCAT,
        reduce=_cell(reduce, shift + 3),
        reduce_concat=CONCAT,
    )


def _random_genotype(generator: random.Random) -> Genotype:
    normal, reduce = (
        tuple(generator.randrange(2 + i // 2) for i in range(8)) for _ in ("normal", "reduce")
    )
    return _genotype(normal, reduce, generator.randrange(7))


def _margins(value: float = 0.00012345) -> dict[str, float]:
    return {decision.name: value for decision in get_space("darts").decisions}


def _texts(figure: Figure) -> list[tuple[str, Bbox]]:
    return [
        (text.get_text(), text.get_window_extent())
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_text() and text.get_visible()
    ]


def _assert_readable(figure: Figure) -> None:
    texts = _texts(figure)
    for (one, a), (other, b) in combinations(texts, 2):
        assert not a.overlaps(b), f"{one!r} and {other!r} overlap"
    paper = figure.bbox
    boxes = [p.get_window_extent() for p in figure.findobj(FancyBboxPatch)]
    for name, a in texts:
        assert paper.contains(*a.min), name
        assert paper.contains(*a.max), name
        for box in boxes:
            inside = box.contains(*a.min) and box.contains(*a.max)
            assert inside or not a.overlaps(box), f"{name!r} crosses the outline of a box"


@pytest.mark.parametrize("margins", [None, _margins()], ids=["plain", "margins"])
@pytest.mark.parametrize("inputs", WORST_INPUTS.values(), ids=WORST_INPUTS.keys())
def test_labels_of_the_worst_cells_do_not_collide(
    inputs: tuple[int, ...], margins: dict[str, float] | None
) -> None:
    _assert_readable(plot_genotype(_genotype(inputs, inputs), margins=margins))


def test_labels_of_random_cells_do_not_collide() -> None:
    generator = random.Random(0)
    for i in range(16):
        margins = _margins(10 ** generator.uniform(-12, 5)) if i % 2 else None
        title = "NASI on DARTS, " * generator.randrange(12)
        _assert_readable(plot_genotype(_random_genotype(generator), margins=margins, title=title))


def test_every_operation_input_node_and_output_is_labelled() -> None:
    genotype = _genotype(WORST_INPUTS["chain"], WORST_INPUTS["two chains"])
    labels = [name for name, _ in _texts(plot_genotype(genotype))]
    ops = [op for op, _ in (*genotype.normal, *genotype.reduce)]
    assert sorted(label for label in labels if label in DARTS_OPS) == sorted(ops)
    for name in ("$c_{k-2}$", "$c_{k-1}$", "0", "1", "2", "3", "$c_k$"):
        assert labels.count(name) == 2
    assert set(USUAL_KINDS) == set(labels) & set(KINDS)


def test_a_partial_set_of_margins_is_written_where_it_belongs() -> None:
    genotype = _genotype(WORST_INPUTS["chain"], WORST_INPUTS["chain"])
    margins = {"normal/node0/op": 0.125, "reduce/node3/input": float("nan")}
    labels = [name for name, _ in _texts(plot_genotype(genotype, margins=margins))]
    assert [x for x in labels if "margin" in x] == ["op margin 0.12", "input margin unknown"]


def test_every_operation_has_a_kind_with_a_colour() -> None:
    assert set(OP_KINDS) == set(GENOTYPE_OPS)
    assert set(OP_KINDS.values()) == set(KINDS)
    assert {OP_KINDS[op] for op in DARTS_OPS} == set(USUAL_KINDS)


def test_published_cells_of_any_operation_and_number_of_nodes_are_readable() -> None:
    generator = random.Random(0)
    for _ in range(12):
        cell = random_genotype(generator, max_nodes=6)
        figure = plot_genotype(cell)
        _assert_readable(figure)
        labels = [name for name, _ in _texts(figure)]
        ops = [op for op, _ in (*cell.normal, *cell.reduce)]
        kinds = {*USUAL_KINDS, *(OP_KINDS[op] for op in ops)}
        # "none" is both an operation and its kind.
        shown = [label for label in labels if label in GENOTYPE_OPS]
        assert sorted(shown) == sorted([*ops, *(["none"] if "none" in ops else [])])
        assert kinds <= set(labels)


def test_a_title_with_a_dollar_sign_is_shown_as_it_is() -> None:
    genotype = _genotype(WORST_INPUTS["chain"], WORST_INPUTS["chain"])
    files = save_genotype_plot(genotype, title="cost $5 and $_{")
    assert ET.fromstring(files["svg"])[0].text == "cost $5 and $_{"


def test_the_same_genotype_gives_the_same_bytes() -> None:
    genotype = _genotype(WORST_INPUTS["chain"], WORST_INPUTS["two chains"])
    first = save_genotype_plot(genotype, margins=_margins(), title="seed 0")
    with mpl.rc_context({"svg.hashsalt": "other", "savefig.bbox": "tight", "font.size": 30}):
        second = save_genotype_plot(genotype, margins=_margins(), title="seed 0")
    assert first == second
    assert b"<dc:date>" not in first["svg"]


def test_the_files_are_an_svg_and_a_png_with_something_on_it() -> None:
    genotype = _genotype(WORST_INPUTS["chain"], WORST_INPUTS["chain"])
    files = save_genotype_plot(genotype)
    assert sorted(files) == ["png", "svg"]
    assert ET.fromstring(files["svg"]).tag.endswith("svg")
    with Image.open(io.BytesIO(files["png"])) as image:
        assert image.text["Description"] == genotype.to_darts()  # type: ignore[attr-defined]
        pixels = np.asarray(image.convert("L"))
    assert pixels[0].min() == 255
    assert 0.02 < (pixels < 200).mean() < 0.3


def test_another_genotype_gives_another_drawing() -> None:
    one = save_genotype_plot(_genotype(WORST_INPUTS["chain"], WORST_INPUTS["chain"]))
    other = save_genotype_plot(_genotype(WORST_INPUTS["chain"], WORST_INPUTS["chain"], 1))
    assert one["svg"] != other["svg"]
    assert one["png"] != other["png"]


def test_drawing_leaves_global_settings_as_they_were() -> None:
    before = mpl.rcParams.copy()
    save_genotype_plot(_genotype(WORST_INPUTS["chain"], WORST_INPUTS["chain"]))
    assert dict.items(mpl.rcParams) == dict.items(before)


@pytest.mark.integration
def test_drawing_needs_no_pyplot() -> None:
    genotype = _genotype(WORST_INPUTS["chain"], WORST_INPUTS["chain"])
    program = (
        "import sys\n"
        "from nasi_ray.search.cell_plot import save_genotype_plot\n"
        "from nasi_ray.spaces import Genotype\n"
        f"save_genotype_plot({genotype.to_darts()})\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
