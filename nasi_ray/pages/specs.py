"""Figures as Vega-Lite specifications: data and fixed field names in, a dict out.

Colours are seen on white and on black, and text has the colour of the page around it. Widths are
the container's, so legends are on top and nothing is faceted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasi_ray.pages.blocks import Spec

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
BLUE, ORANGE, GREEN, PINK, GREY = "#3A8FCF", "#D9680F", "#12996E", "#C46A9F", "#8A8F98"
PURPLE = "#7A6BD1"
PALETTE = (BLUE, ORANGE, GREEN, PINK, "#B58900", PURPLE, "#C0392B")
ROW = 22
"""Height of a row of text, pixels."""
CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "domainColor": GREY,
        "tickColor": GREY,
        "gridColor": GREY,
        "gridOpacity": 0.25,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 150,
        "labelOverlap": True,
        "labelSeparation": 4,
    },
    "axisX": {"tickCount": {"signal": "ceil(width / 80)"}},
    "legend": {
        "orient": "top",
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "columns": 4,
    },
    "text": {"color": "currentColor", "fontSize": 11},
    "range": {"category": list(PALETTE)},
}

Row = Mapping[str, Any]
_BIN = [
    {"field": name, "type": "quantitative", "format": ".3~g"} for name in ("low", "high", "count")
]


def chart(rows: Sequence[Row], height: int, *layers: Spec, name: str = "rows", **more: Any) -> Spec:
    """A figure of layers that share their data.

    Args:
        rows: The data.
        height: Of the plot, pixels.
        layers: Marks and encodings.
        name: Of the data, by which the page can replace them.
        more: Other properties of the specification.
    """
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": name, "values": list(rows)},
        "layer": list(layers),
        "config": CONFIG,
        **more,
    }


def quantity(field: str, title: str | None, *, log: bool = False, **more: Any) -> Spec:
    """A channel that is a number; the axis begins at zero only for bars."""
    scale: Spec = {"type": "log", "nice": False} if log else {"zero": False}
    scale |= more.pop("scale", {})
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, **more}


def names(field: str, title: str | None = None, **more: Any) -> Spec:
    """A channel that is a name, in the order of the data."""
    return {"field": field, "type": "nominal", "title": title, "sort": None, **more}


def colours(field: str, domain: Sequence[str], values: Sequence[str], **more: Any) -> Spec:
    """A colour for each name."""
    scale = {"domain": list(domain), "range": list(values)}
    return {"field": field, "type": "nominal", "title": None, "scale": scale, **more}


_OF_MARGINS = (
    ("name", "decision", ""),
    ("first", "first choice", ""),
    ("second", "second choice", ""),
    ("value", "margin", ".3~g"),
    ("error", "± standard error", ".2~g"),
    ("share", "stands", ".0%"),
)


def intervals(
    rows: Sequence[Row],
    title: str,
    *,
    states: tuple[str, str] = ("stands", "open"),
    told: Sequence[tuple[str, str, str]] = _OF_MARGINS,
) -> Spec:
    """Values with intervals: rows of ``name``, ``value``, ``low``, ``high``, ``state``.

    Args:
        rows: The data.
        title: Of the axis.
        states: What ``state`` is of those that are sure, and of the others.
        told: Field, heading and number format (of a text empty) of what is under the pointer.
    """
    colour = colours("state", states, (BLUE, ORANGE))
    y = names("name")
    tooltip = [
        {
            "field": field,
            "type": "quantitative" if form else "nominal",
            "title": heading,
            "format": form,
        }
        for field, heading, form in told
    ]
    x = quantity("low", title, scale={"zero": True})
    return chart(
        rows,
        ROW * len(rows),
        {"mark": {"type": "rule", "color": GREY}, "encoding": {"x": {"datum": 0}}},
        {
            "mark": {"type": "bar", "height": 7, "opacity": 0.55},
            "encoding": {"y": y, "x": x, "x2": {"field": "high"}, "color": colour,
                         "tooltip": tooltip},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {"y": y, "x": {**x, "field": "value"}, "color": colour,
                         "shape": colours("state", states, ("circle", "diamond")),
                         "tooltip": tooltip},
        },
    )  # fmt: skip


def tiles(rows: Sequence[Row], x: Spec, y: Spec, color: Spec, *, height: int) -> Spec:
    """A heat map; rows also have ``tip``, and ``mark`` where there is a dot on the tile.

    Args:
        rows: One a tile.
        x: Channel.
        y: Channel.
        color: Channel.
        height: Pixels.
    """
    tip = {"field": "tip", "type": "nominal", "title": None}
    place = {"x": x, "y": y, "tooltip": tip}
    return chart(
        rows,
        height,
        {"mark": {"type": "rect", "stroke": None}, "encoding": {**place, "color": color}},
        {
            "transform": [{"filter": "datum.mark"}],
            "mark": {"type": "point", "filled": True, "fill": "white", "stroke": "black",
                     "size": 45, "opacity": 1},
            "encoding": place,
        },
        name="tiles",
    )  # fmt: skip


def lines(rows: Sequence[Row], x: Spec, y: Spec, *, height: int = 220) -> Spec:
    """Lines: rows of x, y and ``series``, which has a colour and a dash pattern of its own."""
    series = {"field": "series", "type": "nominal", "title": None, "sort": None}
    if len({row[y["field"]] for row in rows}) == 1:  # an axis from 0.05 to 0.05 is labelled "0"
        y = {**y, "scale": {**y["scale"], "zero": True}}
    tip = [{k: c[k] for k in ("field", "type", "title")} for c in (x, y)]
    dash = {**series, "scale": {"range": [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]]}}
    return chart(
        rows,
        height,
        {
            "mark": {"type": "line", "point": {"size": 22}},
            "encoding": {
                "x": x, "y": y, "color": series, "strokeDash": dash,
                "tooltip": [{**series, "title": "line"}, *tip],
            },
        },
    )  # fmt: skip


def bars(rows: Sequence[Row], x: Spec, y: Spec, *, until: str = "") -> Spec:
    """Horizontal bars, rows of x, y and ``tip``.

    Args:
        rows: The data.
        x: Where a bar ends, from zero; with ``until``: where it begins.
        y: Its row; several bars may share one.
        until: Field that says where it ends.
    """
    ends = {"x2": {"field": until}} if until else {}
    return chart(
        rows,
        ROW * len({row[y["field"]] for row in rows}),
        {
            "mark": {"type": "bar", "height": {"band": 0.7}, "color": BLUE},
            "encoding": {
                "x": {**x, "scale": {**x["scale"], "zero": True}}, **ends, "y": y,
                "tooltip": {"field": "tip", "type": "nominal", "title": None},
            },
        },
    )  # fmt: skip


def over_samples(rows: Sequence[Row], nu: Sequence[Row], title: str, *, log: bool) -> Spec:
    """Each sample's e (``t``, ``e``) as points, and ν_t (``t``, ``nu``) as a line.

    The axis stays as it is when the page replaces ν_t.
    """
    shown = [row["e"] for row in rows] + [row["nu"] for row in nu if row["nu"] > 0]
    scale = {"domain": [min(shown), max(shown)], "padding": 4}
    y = quantity("e", title, log=log, scale=scale)
    ends = [row["t"] for row in rows]
    x = quantity("t", "sample t", scale={"domain": [min(ends), max(ends)]})
    tooltip = [{"field": "t", "type": "quantitative"}, {"field": "e", "type": "quantitative"}]
    return chart(
        rows,
        240,
        {
            "mark": {"type": "point", "filled": True, "size": 18, "opacity": 0.6, "color": BLUE},
            "encoding": {"x": x, "y": y, "tooltip": tooltip},
        },
        {
            "data": {"name": "nu", "values": list(nu)},
            "mark": {"type": "line", "color": ORANGE, "strokeWidth": 2.5, "clip": True},
            "encoding": {"x": x, "y": {**y, "field": "nu"}},
        },
    )


def measured(
    rows: Sequence[Row], bins: Sequence[Row], options: Sequence[str], *, log: bool
) -> tuple[Spec, Spec]:
    """One of several measurements, which the reader chooses: over samples, and how often.

    Args:
        rows: ``t``, and a value for each of the options.
        bins: ``name``, ``low``, ``high``, ``count``.
        options: Names of the measurements.
        log: Whether all values are above 0.
    """
    select = {"input": "select", "options": list(options), "name": "measurement "}
    params = [{"name": "shown", "value": options[0], "bind": select}]
    wide: Spec = {"log": log, "scale": {} if log else {"type": "symlog", "nice": False}}
    dots = {"type": "point", "filled": True, "size": 18, "opacity": 0.6, "color": BLUE}
    value = quantity("e", None, **wide)
    over = {
        "x": quantity("t", "sample t"),
        "y": value,
        "tooltip": [{"field": "t", "type": "quantitative"}, {"field": "e", "type": "quantitative"}],
    }
    often = {
        "x": quantity("low", None, **wide),
        "x2": {"field": "high"},
        "y": {"field": "count", "type": "quantitative", "title": "samples"},
        "y2": {"datum": 0},
        "tooltip": _BIN,
    }
    bar = {"type": "bar", "color": BLUE, "stroke": None, "binSpacing": 1}
    chosen = [{"calculate": "datum[shown]", "as": "e"}, {"filter": "isValid(datum.e)"}]
    own = [{"filter": "datum.name === shown"}]
    return (
        chart(rows, 220, {"mark": dots, "encoding": over}, params=params, transform=chosen),
        chart(bins, 160, {"mark": bar, "encoding": often}, params=params, transform=own),
    )  # fmt: skip


def histogram(
    rows: Sequence[Row], nu: Sequence[Row], title: str, *, log: bool, counted: str = "samples"
) -> Spec:
    """Counts per bin (``low``, ``high``, ``count``), and vertical lines at ``nu``."""
    ends = [rows[0]["low"], rows[-1]["high"], *(row["nu"] for row in nu if row["nu"] > 0)]
    x = quantity("low", title, log=log, scale={"domain": [min(ends), max(ends)], "padding": 4})
    return chart(
        rows,
        180,
        {
            "mark": {"type": "bar", "color": BLUE, "stroke": None, "binSpacing": 1},
            "encoding": {
                "x": x, "x2": {"field": "high"},
                "y": {"field": "count", "type": "quantitative", "title": counted},
                "y2": {"datum": 0}, "tooltip": _BIN,
            },
        },
        {
            "data": {"name": "nu", "values": list(nu)},
            "mark": {"type": "rule", "color": ORANGE, "strokeWidth": 2.5, "clip": True},
            "encoding": {"x": {**x, "field": "nu"}},
        },
    )  # fmt: skip


def still(spec: Spec, width: int = 640) -> Spec:
    """The same figure for a file: of fixed width, on white."""
    return {**spec, "width": width, "background": "white"}
