from __future__ import annotations

import io

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nasi_ray.display.figures import COLORS, color_of, legend_below, new_figure, render


def a_figure() -> Figure:
    figure, (panel,) = new_figure(1, size=(3.0, 2.0))
    panel.plot([1, 2, 3], [1, 4, 9], color=color_of(1), label="squares")
    legend_below(panel)
    return figure


def test_the_same_drawing_gives_the_same_bytes_whatever_the_callers_settings() -> None:
    first = render(a_figure())
    with mpl.rc_context(
        {
            "svg.hashsalt": "other",
            "svg.fonttype": "none",
            "savefig.bbox": "tight",
            "savefig.dpi": 30,
            "path.sketch": (1, 100, 2),
        }
    ):
        second = render(a_figure())
    assert first == second
    assert b"<dc:date>" not in first["svg"]


def test_rendering_leaves_global_settings_as_they_were() -> None:
    before = mpl.rcParams.copy()
    render(a_figure())
    assert dict.items(mpl.rcParams) == dict.items(before)


def test_both_files_say_what_they_are() -> None:
    files = render(a_figure(), about={"Title": "a title"})
    assert sorted(files) == ["png", "svg"]
    assert b"<dc:title>a title</dc:title>" in files["svg"]
    with Image.open(io.BytesIO(files["png"])) as image:
        assert image.text["Title"] == "a title"  # type: ignore[attr-defined]
        assert image.size == (3 * 144, 2 * 144)


@pytest.mark.parametrize(("num", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (5, 4, 2), (14, 4, 4)])
def test_panels_fill_a_grid_row_by_row(num: int, columns: int, rows: int) -> None:
    figure, panels = new_figure(num, size=(8, 6), num_columns=columns)
    assert figure.axes == panels
    spec = panels[-1].get_subplotspec()
    assert spec is not None
    assert spec.get_gridspec().get_geometry() == (rows, columns)
    assert spec.num1 == num - 1


def test_colours_begin_anew_after_the_last() -> None:
    assert color_of(len(COLORS)) == color_of(0) == COLORS[0]
