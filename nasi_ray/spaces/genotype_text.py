"""Read a DARTS cell from text: JSON, or the ``Genotype(...)`` of the literature's code.

Python source is parsed, never evaluated: only literals and ``range`` have a meaning.
"""

from __future__ import annotations

import ast
import json
from typing import Any

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.genotype import Genotype

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")

_HINT = (
    "give JSON, or Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=range(2, 6))"
)
_MAX_CHARACTERS = 100_000
_MAX_RANGE = 1000


def parse_genotype(text: str) -> Genotype:
    """Read one cell.

    Args:
        text: The JSON of ``Genotype.to_json``, its four fields as JSON, or ``Genotype(...)`` as
            pasted from code, perhaps with ``NAME =`` before it and comments.

    Raises:
        InvalidGenotypeError: If it is neither, or not a DARTS cell.
    """
    if len(text) > _MAX_CHARACTERS:
        raise InvalidGenotypeError(
            f"a genotype of {len(text)} characters is longer than {_MAX_CHARACTERS}; {_HINT}"
        )
    try:
        fields = _fields(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise InvalidGenotypeError(f"no genotype can be read ({reason}); {_HINT}") from None
    if "schema" in fields:
        return Genotype.from_json(json.dumps(fields))
    return Genotype.from_dict(fields)


def _fields(text: str) -> dict[str, Any]:
    if not text:
        raise ValueError("the text is empty")
    if text[0] in "{[":
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("the JSON is no object")
        return found
    statements = ast.parse(text).body
    if len(statements) != 1 or not isinstance(statements[0], ast.Assign | ast.Expr):
        raise ValueError("the text is not one Genotype(...)")
    call = statements[0].value
    if not isinstance(call, ast.Call) or _name(call.func) != "Genotype":
        raise ValueError("the text is not one Genotype(...)")
    if len(call.args) > len(FIELDS):
        raise ValueError(f"Genotype has {len(call.args)} values, not {len(FIELDS)}")
    given = [*zip(FIELDS, call.args, strict=False)]
    given += [(str(keyword.arg), keyword.value) for keyword in call.keywords]
    names = [name for name, _ in given]
    if len(set(names)) < len(names) or not set(names) <= set(FIELDS):
        raise ValueError(f"Genotype has the fields {', '.join(names)}, not {', '.join(FIELDS)}")
    return {name: _value(node) for name, node in given}


def _name(function: ast.expr) -> str:
    """``Genotype`` also where it is written ``genotypes.Genotype``."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Call) and not node.keywords:
        if _name(node.func) in ("list", "tuple") and len(node.args) == 1:
            return _value(node.args[0])
        if _name(node.func) == "range" and 1 <= len(node.args) <= 3:
            return _range([_value(argument) for argument in node.args])
    raise ValueError(f"line {node.lineno} has {ast.unparse(node)[:40]!r}, which is no list")


def _range(bounds: list[Any]) -> list[int]:
    if not all(type(bound) is int for bound in bounds):
        raise ValueError(f"range takes whole numbers, not {bounds}")
    numbers = range(*bounds)
    if not 0 < len(numbers) <= _MAX_RANGE:
        raise ValueError(f"range{tuple(bounds)} does not name 1 to {_MAX_RANGE} nodes")
    return list(numbers)
