from __future__ import annotations

from nasi_ray.display.tables import markdown_table, table_blocks, text_table

HEADINGS = ("name", "n", "remark")


def test_columns_are_aligned() -> None:
    assert text_table(HEADINGS, [("a", "1000", "x"), ("longer", "2", "")]) == [
        "name    n     remark",
        "a       1000  x",
        "longer  2",
    ]


def test_a_table_without_rows_has_headings() -> None:
    assert text_table(HEADINGS, []) == ["name  n  remark"]


def test_cells_are_broken_after_commas_where_a_table_is_too_wide() -> None:
    names = [f"candidate{i}" for i in range(9)]
    remark = "1.5 ± 0.5 of 20 to 30 that are never broken"
    lines = text_table(("name", "choice", "remark"), [("a", ", ".join(names), remark)])
    assert lines[1].startswith("a     candidate0, candidate1, ")
    assert lines[1].endswith(f"  {remark}")
    assert max(map(len, lines)) <= 80
    assert ", ".join(names) in " ".join(" ".join(lines[1:]).replace(remark, "").split())


def test_a_table_wider_than_80_columns_becomes_lines_below_each_first_cell() -> None:
    fits, wide = "x" * 65, "y" * 75
    assert len(text_table(HEADINGS, [("a" * 10, "1", fits)])[0]) <= 80
    blocks = table_blocks(HEADINGS, [("a", "1", wide), ("b", "2", "short")])
    assert blocks == [
        [],
        ["a", "    n: 1; remark:", f"    {wide}"],
        ["b", "    n: 2; remark: short"],
    ]
    assert all(len(line) <= 80 for block in blocks for line in block)


def test_cells_cannot_break_a_line_or_hold_control_characters() -> None:
    hostile = ("a\nb\x1b[2J", "\u202e1", "c\x07\udcff")
    for lines in (text_table(HEADINGS, [hostile]), markdown_table(hostile, [hostile])):
        assert all(line.isprintable() for line in lines)
    assert text_table(HEADINGS, [hostile])[1] == "a b   1  c"


def test_markdown_escapes_bars() -> None:
    assert markdown_table(("a", "b"), [("|x~0|", "1")]) == [
        "| a | b |",
        "|---|---|",
        "| \\|x~0\\| | 1 |",
    ]
