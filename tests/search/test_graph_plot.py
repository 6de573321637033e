"""Pictures of cells that are graphs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.transforms import Bbox

from nasi_ray.search.graph_plot import plot_graph, save_graph_plot
from nasi_ray.spaces import get_tabular_space
from nasi_ray.spaces.cell_graph import CellGraph, Vertex
from nasi_ray.spaces.nb201 import NB201

SPACES = ("nb201", "s1", "s2", "s3")


def labels(figure: Figure) -> list[tuple[str, Bbox]]:
    figure.draw_without_rendering()
    return [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]


def patches(figure: Figure, kind: type) -> list[bool]:
    """Whether each is dashed."""
    found = [patch for patch in figure.axes[0].patches if isinstance(patch, kind)]
    return [patch.get_linestyle() not in ("solid", "-") for patch in found]


def some_graphs(space: str) -> Sequence[CellGraph]:
    found = get_tabular_space(space)
    rng = np.random.default_rng(0)
    positions = rng.integers(found.num_architectures, size=12).tolist()
    return [found.architecture(i).graph() for i in positions]


@pytest.mark.parametrize("space", SPACES)
def test_everything_is_drawn_inside_and_no_label_covers_another(space: str) -> None:
    for graph in some_graphs(space):
        figure = plot_graph(graph, title="a title " * 20)
        width, height = figure.get_size_inches() * figure.dpi
        found = labels(figure)
        for _, box in found:
            assert box.x0 >= 0 <= box.y0
            assert box.x1 <= width
            assert box.y1 <= height
        for (one, a), (other, b) in itertools.combinations(found, 2):
            assert not a.overlaps(b), (one, other)
        assert len(patches(figure, FancyBboxPatch)) == len(graph.vertices)
        assert len(patches(figure, FancyArrowPatch)) == len(graph.arcs)
        shown = [name for name, _ in found]
        expected = [part.label for part in graph.vertices] + [arc.label for arc in graph.arcs]
        assert {name for name in expected if name} <= set(shown)


@pytest.mark.parametrize("space", SPACES)
def test_what_is_open_is_dashed(space: str) -> None:
    decisions = [d.name for d in get_tabular_space(space).decisions]
    for graph in some_graphs(space)[:3]:
        for name in decisions:
            figure = plot_graph(graph, probabilities={d: float(d != name) for d in decisions})
            expected = [vertex.decision == name for vertex in graph.vertices]
            assert patches(figure, FancyBboxPatch) == expected
            expected = [arc.decision == name for arc in graph.arcs]
            assert patches(figure, FancyArrowPatch) == expected


def test_the_graph_is_that_of_the_cell() -> None:
    cell = NB201.parse("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|none~2|")
    found = [(arc.source, arc.target, arc.label) for arc in cell.graph().arcs]
    assert found == [(0, 1, "skip_connect"), (1, 2, "nor_conv_1x1"), (1, 3, "avg_pool_3x3")]
    s1 = get_tabular_space("s1").parse("0;0,1;0,1;0,1;0,1|3,1,m,3")
    assert [vertex.label for vertex in s1.graph().vertices] == [
        "input", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "conv3x3-bn-relu", "output",
    ]  # fmt: skip
    for target, sources in enumerate(s1.parents, start=1):
        assert [a.source for a in s1.graph().arcs if a.target == target] == list(sources)


def test_a_cell_without_edges_is_drawn() -> None:
    files = save_graph_plot(CellGraph([Vertex("input"), Vertex("output")], []))
    assert files["png"].startswith(b"\x89PNG")
    assert files == save_graph_plot(CellGraph([Vertex("input"), Vertex("output")], []))
