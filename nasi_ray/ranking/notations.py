"""Architectures as people write them in a list; nothing in a line is executed."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces import TabularSpace
from nasi_ray.spaces.graph import MAX_VERTICES, Matrix, hash_cell
from nasi_ray.spaces.literals import literal, parse_expression

_MAX_LINE = 5000
_MAX_SHOWN = 100
_HASH = re.compile(r"[0-9a-fA-F]{32}")
_HEADINGS = {"architecture", "arch", "arch_str", "given", "hash", "matrix", "genotype"}
# NAS-Bench-201's string within ``Structure(4 nodes with |...|+|...|+|...|)`` and the like.
_NODE = r"(?:\|\s?\w{1,20}~\d\s?){1,3}\|"
_NODES = re.compile(rf"{_NODE}(?:\s?\+\s?{_NODE}){{2}}")
# NASLib's numbers of operations, edges by their source.
_NASLIB = re.compile(r"[(\[]\s?([0-4](?:\s?,\s?[0-4]){5})\s?[)\]]")
_NASLIB_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_NASLIB_FORM = "|{0}~0|+|{1}~0|{3}~1|+|{2}~0|{4}~1|{5}~2|"
_INDEX = re.compile(r"\A\d+\s?[:,\t ]\s?(?=\S)")
_OP_NAMES = {
    "conv3x3": "conv3x3-bn-relu",
    "conv1x1": "conv1x1-bn-relu",
    "maxpool": "maxpool3x3",
}


class Notations:
    """Reads lines for one space."""

    def __init__(self, space: TabularSpace[Any], by_hash: Callable[[], Mapping[bytes, int]]):
        """Prepare to read.

        Args:
            space: The space.
            by_hash: Returns the position of every hash, in spaces that have hashes.
        """
        self._space, self._by_hash = space, by_hash

    def read(self, line: str) -> tuple[int, str]:
        """The position of a line's architecture, and how the line writes it.

        A line is the space's own string, also in quotes, after an index, before a comma, or as a
        field of a CSV row; a NAS-Bench-201 string may have text around it, and may be
        NASLib's six numbers in brackets. For spaces of NAS-Bench-101 cells it may also be a hash,
        or matrix and operations.

        Raises:
            InvalidGenotypeError: If it is none of these, or of another space.
        """
        if len(line) > _MAX_LINE:
            raise InvalidGenotypeError(f"a line of {len(line)} characters is not an architecture")
        first: InvalidGenotypeError | None = None
        for text in dict.fromkeys(_candidates(line)):
            try:
                return self._position(text), text
            except InvalidGenotypeError as error:
                first = first or error
        raise first or InvalidGenotypeError("an empty line is not an architecture")

    def _position(self, text: str) -> int:
        if self._space.key_column == "hash":
            if _HASH.fullmatch(text):
                return self._find(text.lower())
            if (cell := _matrix_and_ops(text)) is not None:
                return self._find(hash_cell(*cell))
        if self._space.key_column == "arch" and (match := _NASLIB.fullmatch(text)):
            text = _NASLIB_FORM.format(*(_NASLIB_OPS[int(i)] for i in match[1].split(",")))
        found: int = self._space.index(self._space.parse(text))
        return found

    def _find(self, digest: str) -> int:
        position = self._by_hash().get(bytes.fromhex(digest))
        if position is None:
            raise InvalidGenotypeError(
                f"{self._space.name} has no cell with the NAS-Bench-101 hash {digest}"
            )
        return position


def is_heading(line: str) -> bool:
    """Whether a line is the heading of a CSV file of architectures."""
    return any(name in _HEADINGS for name in (field.lower() for field in _fields(line)))


def _candidates(line: str) -> Iterator[str]:
    """What in a line may be the architecture, the most likely first."""
    for text in (line, line.rstrip(",;"), _INDEX.sub("", line, count=1).rstrip(",;")):
        yield text.strip().strip("'\"").strip()
    if match := _NODES.search(line):
        yield re.sub(r"\s", "", match[0])
    yield from _fields(line)


def _fields(line: str) -> list[str]:
    """The fields of a CSV row, by commas, semicolons or tabs."""
    fields: list[str] = []
    for delimiter in ",\t;":
        try:
            fields += next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:
            continue
    return [text for field in fields if (text := field.strip().strip("'\"").strip())]


def _matrix_and_ops(text: str) -> tuple[Matrix, tuple[str, ...]] | None:
    """A NAS-Bench-101 cell of a line such as ``[[0, 1], [0, 0]], ['input', 'output']``.

    Also as JSON with ``matrix`` and ``ops`` (or ``module_adjacency``, ``module_operations``), and
    as ``ModelSpec(matrix=..., ops=...)``. None if the line is no such text.

    Raises:
        InvalidGenotypeError: If it looks like one and is no cell.
    """
    if "[[" not in text.replace(" ", ""):
        return None
    try:
        matrix, ops = _two_values(parse_expression(text))
        rows = [[_bit(value) for value in row] for row in matrix]
        names = tuple(_OP_NAMES.get(op, op) for op in ops)
    except (ValueError, TypeError):
        raise InvalidGenotypeError(
            f"{text[:_MAX_SHOWN]!r} is not a NAS-Bench-101 cell; give [[0, 1, ...], ...], "
            "['input', ..., 'output'], or its hash"
        ) from None
    if not 2 <= len(rows) <= MAX_VERTICES or any(len(row) != len(rows) for row in rows):
        raise InvalidGenotypeError(
            f"a matrix of {len(rows)} rows is not a NAS-Bench-101 cell; it must be square, with 2 "
            f"to {MAX_VERTICES} rows"
        )
    return np.array(rows, dtype=np.int8), names


def _two_values(node: ast.expr) -> tuple[Any, Any]:
    """Matrix and operations of a pair, an object, or a call of ``ModelSpec``."""
    if isinstance(node, ast.Call):
        named = {str(keyword.arg): keyword.value for keyword in node.keywords}
        parts = [*node.args, *(named[name] for name in ("matrix", "ops") if name in named)]
        matrix, ops = (literal(part) for part in parts)
        return matrix, ops
    value: Any = literal(node)
    if isinstance(value, dict):
        value = (
            value.get("matrix", value.get("module_adjacency")),
            value.get("ops", value.get("module_operations")),
        )
    matrix, ops = value
    return matrix, ops


def _bit(value: object) -> int:
    if value not in (0, 1):
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return int(bool(value))
