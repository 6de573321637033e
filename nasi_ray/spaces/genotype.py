"""The final DARTS cell: two (operation, input) pairs per node, as in DARTS's own tuples.

JSON with a schema version for our own tools, DARTS notation for other code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.registry import import_from

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
                f"not a DARTS genotype ({type(error).__name__}: {error}); it needs normal and "
                "reduce as [[operation, input], ...], and normal_concat and reduce_concat as "
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
        except json.JSONDecodeError as error:
            raise InvalidGenotypeError(f"a genotype must be JSON: {error}") from error
        schema = fields.get("schema") if isinstance(fields, dict) else None
        if schema != SCHEMA:
            raise InvalidGenotypeError(
                f"genotype schema {schema!r} is not known; this version reads {SCHEMA!r}"
            )
        if fields.get("space") != "darts":
            raise InvalidGenotypeError(
                f"genotype of space {fields.get('space')!r}; only darts cells can be read here"
            )
        return cls.from_dict(fields)


def _edges(pairs: Any) -> tuple[Edge, ...]:
    return tuple((str(op), _node(source)) for op, source in pairs)


def _node(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a node number")
    return value


def _check_cell(name: str, edges: tuple[Edge, ...], concat: tuple[int, ...]) -> None:
    if not edges or len(edges) % 2:
        raise InvalidGenotypeError(f"{name} has {len(edges)} pairs; two per node are needed")
    num_nodes = len(edges) // 2
    for position, (op, source) in enumerate(edges):
        node = position // 2
        if op not in GENOTYPE_OPS:
            raise InvalidGenotypeError(
                f"{name} node {node} has operation {op!r}; choose one of {', '.join(GENOTYPE_OPS)}"
            )
        if not 0 <= source < NUM_INPUT_NODES + node:
            raise InvalidGenotypeError(
                f"{name} node {node} takes input {source}; allowed are 0 to {node + 1}"
            )
    last = NUM_INPUT_NODES + num_nodes
    is_allowed = all(NUM_INPUT_NODES <= i < last for i in concat)
    if not concat or not is_allowed or len(set(concat)) < len(concat):
        raise InvalidGenotypeError(
            f"{name}_concat is {list(concat)}; allowed are intermediate nodes 2 to {last - 1}, "
            "each once"
        )
