"""The final DARTS cell: two (operation, input) pairs per node, as in DARTS's own tuples.

JSON with a schema version for our own tools, DARTS notation for other code.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.registry import import_from
from nasi_ray.spaces.literals import literal, parse_expression

SCHEMA = "nasi_ray.genotype/1"

Edge = tuple[str, int]

DARTS_OPS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The 7 operations of App. B.2, spelled as in DARTS (no *zero*)."""

GENOTYPE_OPS = ("none", *DARTS_OPS, "sep_conv_7x7", "conv_7x1_1x7")
"""DARTS's whole list: what a published cell may hold."""

NUM_INPUT_NODES = 2

_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_MAX_TEXT = 20_000
_MAX_NODES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Genotype:
    """A normal and a reduction cell, in DARTS's notation.

    Intermediate node i (from 0) owns pairs 2i and 2i+1; inputs are numbered with the two cell
    inputs as 0 and 1 and intermediate node i as i + 2.
    """

    normal: tuple[Edge, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Edge, ...]
    reduce_concat: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, edges, concat in (
            ("normal", self.normal, self.normal_concat),
            ("reduce", self.reduce, self.reduce_concat),
        ):
            _check_cell(name, edges, concat)

    def to_dict(self) -> dict[str, Any]:
        """The four fields as JSON-ready lists, as ``result.json`` has them."""
        return {
            "normal": [list(edge) for edge in self.normal],
            "normal_concat": list(self.normal_concat),
            "reduce": [list(edge) for edge in self.reduce],
            "reduce_concat": list(self.reduce_concat),
        }

    def to_json(self) -> str:
        """JSON text with the schema version; ``from_json`` reads it back losslessly."""
        return json.dumps({"schema": SCHEMA, "space": "darts", **self.to_dict()}, indent=2) + "\n"

    def to_darts(self) -> str:
        """Python source of the tuple as DARTS's ``genotypes.py`` writes it."""
        return (
            f"Genotype(normal={list(self.normal)!r}, normal_concat={list(self.normal_concat)!r}, "
            f"reduce={list(self.reduce)!r}, reduce_concat={list(self.reduce_concat)!r})"
        )

    def to_string(self) -> str:
        """As ``to_darts``."""
        return self.to_darts()

    def fields(self) -> dict[str, Any]:
        """``genotype``, as ``to_dict``."""
        return {"genotype": self.to_dict()}

    @property
    def key(self) -> str:
        """Its key in a table: the four fields as JSON without spaces."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def num_params(self) -> int:
        """Trainable parameters of its network for CIFAR-10: 20 cells, C=36, no auxiliary tower."""
        count: int = import_from("nasi_ray.spaces.network_costs:num_params")(self)
        return count

    def _repr_svg_(self) -> str:
        """A picture for notebooks."""
        # Drawing is in a higher layer and takes a second to import, so it is referred to by name.
        draw = import_from("nasi_ray.search.cell_plot:cell_svg")
        return str(draw(self))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Genotype:
        """Build from the four fields.

        Raises:
            InvalidGenotypeError: If a field is missing or the cell is not a DARTS cell.
        """
        try:
            return cls(
                normal=_edges(fields["normal"]),
                normal_concat=tuple(_node(i) for i in fields["normal_concat"]),
                reduce=_edges(fields["reduce"]),
                reduce_concat=tuple(_node(i) for i in fields["reduce_concat"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidGenotypeError(
                f"not a DARTS genotype ({type(error).__name__}: {_reason(error)}); it needs normal "
                "and reduce as [[operation, input], ...], and normal_concat and reduce_concat as "
                "[node, ...]"
            ) from error

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read ``to_json``'s text.

        Raises:
            InvalidGenotypeError: If it is not JSON, or of another schema.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidGenotypeError(f"a genotype must be JSON: {error}") from error
        _check_schema(fields)
        return cls.from_dict(fields)

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """Read a cell as people have it; nothing in the text is executed.

        Args:
            text: ``to_json``'s; JSON of DARTS's tuples, ``{"normal": [["skip_connect", 0], ...],
                "normal_concat": [2, 3, 4, 5], ...}``; or Python source, ``Genotype(normal=[(
                'skip_connect', 0), ...], normal_concat=range(2, 6), ...)``, with lists or tuples,
                also after ``name =`` or the time and date of a log.

        Raises:
            InvalidGenotypeError: If it is none of these, or the cell is not a DARTS cell.
        """
        if len(text) > _MAX_TEXT:
            raise InvalidGenotypeError(
                f"a genotype of {len(text)} characters; at most {_MAX_TEXT} are allowed"
            )
        if "Genotype(" in text:
            return cls.from_dict(_from_source(text[text.index("Genotype(") :]))
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidGenotypeError(
                f"no genotype can be read in {_start_of(text)} ({_reason(error)}); give JSON, "
                "or DARTS's Genotype(normal=[...], normal_concat=[...], reduce=[...], "
                "reduce_concat=[...])"
            ) from error
        if isinstance(fields, dict) and "schema" in fields:
            _check_schema(fields)
        return cls.from_dict(fields)


def _check_schema(fields: Any) -> None:
    schema = fields.get("schema") if isinstance(fields, dict) else None
    if schema != SCHEMA:
        raise InvalidGenotypeError(
            f"genotype schema {_start_of(schema)} is not known; this version reads {SCHEMA!r}"
        )
    if fields.get("space") != "darts":
        raise InvalidGenotypeError(
            f"genotype of space {_start_of(fields.get('space'))}; only darts cells can be read here"
        )


def _from_source(text: str) -> dict[str, Any]:
    """The arguments of ``Genotype(...)``, of which only the syntax is looked at."""
    try:
        call = parse_expression(text)
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("there is more than one call of Genotype")
        given = {_FIELDS[i]: argument for i, argument in enumerate(call.args)}
        given |= {str(keyword.arg): keyword.value for keyword in call.keywords}
        if unknown := sorted(given.keys() - set(_FIELDS)):
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(_FIELDS)}")
        return {name: _literal(node) for name, node in given.items()}
    except (ValueError, TypeError, LookupError) as error:
        raise InvalidGenotypeError(
            f"no genotype can be read in {_start_of(text)} ({_reason(error)}); give DARTS's "
            "Genotype(normal=[...], normal_concat=[...], reduce=[...], reduce_concat=[...])"
        ) from error


def _literal(node: ast.expr) -> Any:
    """A literal, or the numbers of ``range(...)`` and ``list(range(...))``."""
    if not isinstance(node, ast.Call):
        return literal(node)
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if node.keywords or name not in ("range", "list", "tuple"):
        raise ValueError("only literals and range(...) are read")
    if name != "range":
        return _literal(node.args[0])
    numbers = range(*(_node(literal(argument)) for argument in node.args))
    return list(numbers[:_MAX_NODES])


def _reason(error: Exception) -> str:
    return _cut(" ".join(str(error).split()) or type(error).__name__)


def _start_of(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."


def _edges(pairs: Any) -> tuple[Edge, ...]:
    return tuple((_op(op), _node(source)) for op, source in pairs)


def _op(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{_start_of(value)} is not the name of an operation")
    return value


def _node(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{_start_of(value)} is not a node number")
    return value


def _check_cell(name: str, edges: tuple[Edge, ...], concat: tuple[int, ...]) -> None:
    if not edges or len(edges) % 2:
        raise InvalidGenotypeError(f"{name} has {len(edges)} pairs; two per node are needed")
    num_nodes = len(edges) // 2
    for position, (op, source) in enumerate(edges):
        node = position // 2
        if op not in GENOTYPE_OPS:
            raise InvalidGenotypeError(
                f"{name} node {node} has operation {_start_of(op)}; choose one of "
                f"{', '.join(GENOTYPE_OPS)}"
            )
        if not 0 <= source < NUM_INPUT_NODES + node:
            raise InvalidGenotypeError(
                f"{name} node {node} takes input {source}; it must be 0 to {node + 1}"
            )
    last = NUM_INPUT_NODES + num_nodes
    is_allowed = all(NUM_INPUT_NODES <= i < last for i in concat)
    if not concat or not is_allowed or len(set(concat)) < len(concat):
        raise InvalidGenotypeError(
            f"{name}_concat is {_start_of(list(concat))}; allowed: intermediate nodes 2 to "
            f"{last - 1}, each once"
        )
