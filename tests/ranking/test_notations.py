"""Lists of architectures as people have them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import DataError
from nasi_ray.ranking.architectures import select_architectures
from nasi_ray.spaces.nb1shot1 import S1, NB1Shot1Architecture
from nasi_ray.spaces.nb201 import NB201

NB201_CELL = NB201.architecture(12_345)
S1_CELL = NB1Shot1Architecture.from_string("0;0,1;0,2;1,3;2,4|1,3,m,1")

NB201_LINES: dict[str, Callable[[str], str]] = {
    "the string": lambda text: text,
    "spaces around it": lambda text: f"  {text}\t",
    "quotes": lambda text: f'"{text}"',
    "single quotes and a comma": lambda text: f"'{text}',",
    "an index": lambda text: f"12345 {text}",
    "an index and a colon": lambda text: f"12345: {text}",
    "a row of a CSV file": lambda text: f"12345,{text},93.2,71.0",
    "a quoted row": lambda text: f'12345,"{text}",93.2',
    "tabs": lambda text: f"12345\t{text}\t93.2",
    "semicolons": lambda text: f"12345;{text};93.2",
    "a structure": lambda text: f"Structure(4 nodes with {text})",
    "a structure of the newer code": lambda text: f"Structure(nodes={text})",
    "a log": lambda text: f"[000/100] arch: {text} acc=93.2",
    "spaces within": lambda text: text.replace("+", " + "),
    "a list in Python": lambda text: f"['{text}']",
}


def read(tmp_path: Path, space: str, *lines: str) -> tuple[list[int], dict[int, list[str]]]:
    path = tmp_path / "cells.txt"
    path.write_text("\n".join(lines))
    found = select_architectures(space, str(path))
    return found.positions.tolist(), dict(found.given)


@pytest.mark.parametrize("kind", NB201_LINES)
def test_lines_of_nas_bench_201(tmp_path: Path, kind: str) -> None:
    line = NB201_LINES[kind](NB201_CELL.to_string())
    positions, given = read(tmp_path, "nb201", line)
    assert positions == [12_345]
    assert [len(spellings) for spellings in given.values()] == [1]


NASLIB_LINES = [
    "(4, 3, 1, 0, 2, 3)", "[4, 3, 1, 0, 2, 3]", "7: (4,3,1,0,2,3)", '7,"(4, 3, 1, 0, 2, 3)",93.2',
]  # fmt: skip


@pytest.mark.parametrize("line", NASLIB_LINES)
def test_the_numbers_of_naslib_are_edges_by_source(tmp_path: Path, line: str) -> None:
    positions, given = read(tmp_path, "nb201", line)
    # As convert_op_indices_to_str of naslib/search_spaces/nasbench201/conversions.py says.
    text = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert [NB201.architecture(p).to_string() for p in positions] == [text]
    assert [spelling.strip("([])")[0] for (spelling,) in given.values()] == ["4"]


@pytest.mark.parametrize("line", ["(4, 3, 1, 0, 2)", "(5, 3, 1, 0, 2, 3)", "4,3,1,0,2,3"])
def test_other_numbers_are_no_cells(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="lines that are not nb201 cells"):
        read(tmp_path, "nb201", line)


MATRIX = S1_CELL.matrix().tolist()
OPS = list(S1_CELL.vertex_ops())
S1_LINES = {
    "the string": S1_CELL.to_string(),
    "quotes": f'"{S1_CELL.to_string()}",',
    "an index": f"17: {S1_CELL.to_string()}",
    "a row of a CSV file": f'17,"{S1_CELL.to_string()}",0.93',
    "a hash": S1_CELL.hash(),
    "a hash in capitals": S1_CELL.hash().upper(),
    "a quoted hash": f"'{S1_CELL.hash()}',",
    "a hash in a CSV row": f"{S1_CELL.hash()},0.93",
    "a pair": f"{MATRIX}, {OPS}",
    "a pair in brackets": f"({MATRIX}, {OPS})",
    "a pair and a comma": f"[{MATRIX}, {OPS}],",
    "a specification": f"ModelSpec(matrix={MATRIX}, ops={OPS})",
    "a specification without names": f"api.ModelSpec({MATRIX}, {OPS})",
    "an object": f'{{"matrix": {MATRIX}, "ops": {OPS}}}'.replace("'", '"'),
    "an object of the benchmark": f"{{'module_adjacency': {MATRIX}, 'module_operations': {OPS}}}",
}


@pytest.mark.parametrize("kind", S1_LINES)
def test_lines_of_nas_bench_101(tmp_path: Path, kind: str) -> None:
    positions, _ = read(tmp_path, "s1", S1_LINES[kind])
    assert [S1.architecture(p).hash() for p in positions] == [S1_CELL.hash()]


BAD_LINES = {
    "hello": "is not in the table's notation",
    "x" * 6000: "a line of 6000 characters is not an architecture",
    "0" * 32: "s1 has no cell with the NAS-Bench-101 hash 00000",
    "[[0, 1], [0, 0]], ['input', 'output']": "s1 has no cell with the NAS-Bench-101 hash",
    "[[0, 1], [0, 0]]": "is not a NAS-Bench-101 cell; give",
    "[[0, 2], [0, 0]], ['input', 'output']": "is not a NAS-Bench-101 cell; give",
    "[[0, 1], [0]], ['input', 'output']": "must be square",
    "[[0, 1], [1, 0]], ['input', 'output']": "must be upper triangular",
    "[[0, 1], [0, 0]], ['input', 'x', 'output']": "a cell of 3 operations",
    "[[0, 1, 1], [0, 0, 1], [0, 0, 0]], ['input', 'x', 'output']": "unknown operation 'x'",
    "[[0, 0], [0, 0]], ['input', 'output']": "no path from its input to its output",
    f"[[{'-' * 4000}1]], ['input']": "is not a NAS-Bench-101 cell; give",
    f"[{'[' * 4000}": "is not a NAS-Bench-101 cell; give",
    "[[open('/tmp/x')]], ['input']": "is not a NAS-Bench-101 cell; give",
    "[[[]]], [[]]": "is not a NAS-Bench-101 cell; give",
    "{[[1]]: 2}": "is not a NAS-Bench-101 cell; give",
    "0;0;0,1;0,1;0,1;0,1|3,1,m,3": "a cell needs",
    "\0\x1b[2J": "is not in the table's notation",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
def test_lines_that_are_no_cells_are_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "s1", line)
    assert "has lines that are not s1 cells: line 1: " in str(caught.value)
    assert BAD_LINES[line] in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_hash_is_no_line_of_nas_bench_201(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: architecture '0{32}' is not of the form"):
        read(tmp_path, "nb201", "0" * 32)


def test_a_heading_is_left_out_once(tmp_path: Path) -> None:
    text = NB201_CELL.to_string()
    for heading in ("index,arch,acc", '"architecture"', "Hash\tarch_str"):
        assert read(tmp_path, "nb201", "# mine", heading, text)[0] == [12_345]
    with pytest.raises(DataError, match="line 2: "):
        read(tmp_path, "nb201", text, "index,arch,acc")


def test_every_spelling_of_a_cell_is_kept_once(tmp_path: Path) -> None:
    # The loose end of block 4 makes no difference.
    first, second = "0;0,1;0,1;0,1;0,1|3,1,m,3", "0;0,1;0,1;0,1;0,1|3,1,m,1"
    cell = NB1Shot1Architecture.from_string(first)
    positions, given = read(tmp_path, "s1", first, f'"{first}"', second, cell.hash())
    assert list(given) == positions
    assert given[positions[0]] == [first, second, cell.hash()]
    assert select_architectures("s1", "all").given == {}


def test_what_a_ranking_writes_is_a_list_of_architectures(tmp_path: Path) -> None:
    out = io.StringIO()
    csv.writer(out).writerows(
        [
            ("given", "architecture", "hash", "snip"),
            ("x", S1_CELL.to_string(), S1_CELL.hash(), 1.5),
        ]
    )
    positions, _ = read(tmp_path, "s1", out.getvalue())
    assert [S1.architecture(p).hash() for p in positions] == [S1_CELL.hash()]


def test_the_strings_of_a_table_are_read_from_its_rows(data_dir: Path, tmp_path: Path) -> None:
    table = pq.read_table(data_dir / "nasbench201.parquet")
    rows = zip(table["index"].to_pylist(), table["arch"].to_pylist(), strict=True)
    positions, _ = read(tmp_path, "nb201", *(f"{index},{arch}" for index, arch in rows))
    assert positions == list(range(15_625))
