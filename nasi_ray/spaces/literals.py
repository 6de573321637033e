"""Python literals of unknown origin, parsed and never executed."""

from __future__ import annotations

import ast
import warnings


def parse_expression(text: str) -> ast.expr:
    """The syntax tree of an expression.

    Args:
        text: Of a bounded length: the caller has refused longer ones.

    Raises:
        ValueError: If it is none, or too deeply nested.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes within texts
            return ast.parse(text.strip(), mode="eval").body
    # A parser that runs out of stack raises MemoryError.
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(str(error) or "it is too deeply nested") from error


def literal(node: ast.expr) -> object:
    """The value of a literal: texts, numbers, lists, tuples, dictionaries.

    Raises:
        ValueError: If it is no literal.
    """
    try:
        value: object = ast.literal_eval(node)
    except (TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error) or "it is too deeply nested") from error
    return value
