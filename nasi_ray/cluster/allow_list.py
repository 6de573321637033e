"""Compare a document with what ``allowed.yaml`` lists; whatever is not listed is a problem.

``allowed.yaml`` says how its lists are read. A list is a rule of its own, not the shipped file, so
that an edited file is not compared with itself.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nasi_ray.cluster.documents import Problem
from nasi_ray.cluster.parameters import PARAMETERS, fault_of, misfits

_BLANK = re.compile(r"\$\{(\w+)\}|<([^<>]+)>")
_RANGE = re.compile(r"<(-?[0-9]+)\.\.([0-9]+)>")
_LABEL = "[a-z][a-z0-9-]{0,62}"


class Value(NamedTuple):
    """What a document has where the list names a value, such as ``${NASI_REGION}``."""

    name: str
    text: str
    place: str


Finding = Problem | Value
Content = dict[str, Any]


@functools.cache
def _lists() -> dict[str, Any]:
    text = Path(__file__).with_name("allowed.yaml").read_text(encoding="utf-8")
    lists: dict[str, Any] = yaml.safe_load(text)
    return lists


def kinds_of_documents() -> list[str]:
    """The kinds of document that are listed."""
    return list(_lists()["documents"])


def compare(kind: str, document: Any) -> tuple[list[Problem], list[Value]]:
    """Find what a document has that is not listed, or lacks that is.

    Args:
        kind: As in ``kinds_of_documents``.
        document: JSON-like content. Of several lists for a kind the one that fits best
            counts: without problems, else with the most values in common.

    Returns:
        Problems, and the document's values, each with its place.
    """
    attempts = [_split(_compare(shape, document, "")) for shape in _lists()["documents"][kind]]
    return min(attempts, key=lambda found: (bool(found[0]), -len(found[1]), len(found[0])))


def _split(findings: Iterable[Finding]) -> tuple[list[Problem], list[Value]]:
    found = list(findings)
    problems = [finding for finding in found if isinstance(finding, Problem)]
    return problems, [finding for finding in found if isinstance(finding, Value)]


def conflicts(values: Iterable[Value]) -> Iterator[Problem]:
    """Values of which there are two, and values that do not fit each other.

    Args:
        values: Of one document or of several.
    """
    known: dict[str, Value] = {}
    for value in values:
        first = known.setdefault(value.name, value)
        if first.text != value.text:
            yield Problem(
                value.place,
                f"{value.name} is {value.text!r} here, but {first.text!r} at {first.place}; use "
                "the same value in both places",
            )
    yield from (Problem("values", m) for m in misfits({v.name: v.text for v in known.values()}))


def _compare(shape: Any, value: Any, place: str) -> Iterator[Finding]:
    if isinstance(shape, dict) and isinstance(value, dict):
        yield from _compare_mapping(shape, value, place)
    elif isinstance(shape, list) and isinstance(value, list):
        yield from _compare_sequence(shape, value, place)
    elif isinstance(shape, str):
        yield from _compare_text(shape, value, place)
    elif type(value) is not type(shape) or value != shape:
        yield _wrong(shape, value, place)


def _compare_mapping(shape: Content, value: Content, place: str) -> Iterator[Finding]:
    rules = {_name(rule): rule for rule in shape}
    for key, content in value.items():
        rule = rules.get(key) or next((r for r in shape if _is_open_to(r, key)), None)
        if rule is None:
            only = ", ".join(rules) or "nothing"
            yield _problem(_join(place, key), f"not an allowed key; allowed: {only}. Remove it")
        elif rule.endswith(("*", "+")) and isinstance(content, list):
            is_complete = rule.endswith("+")
            yield from _compare_items(shape[rule], content, _join(place, key), is_complete)
        else:
            yield from _compare(shape[rule], content, _join(place, key))
    for name, rule in rules.items():
        if name not in value and rule[0] not in "(<":
            yield _problem(_join(place, name), f"missing; give {_describe(shape[rule])}")


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _is_open_to(rule: str, key: str) -> bool:
    return rule[0] == "<" and _pattern(rule).fullmatch(key) is not None


def _compare_sequence(shapes: list[Any], value: list[Any], place: str) -> Iterator[Finding]:
    for index, (shape, item) in enumerate(zip(shapes, value, strict=False)):
        yield from _compare(shape, item, f"{place}[{index}]")
    if extra := value[len(shapes) :]:
        more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
        message = f"{_short(extra[0])}{more} not allowed; remove it"
        yield _problem(f"{place}[{len(shapes)}]", message)
    for shape in shapes[len(value) :]:
        yield _problem(place, f"missing; give {_describe(shape)}")


def _compare_items(
    shapes: list[Any], value: list[Any], place: str, is_complete: bool
) -> Iterator[Finding]:
    missing = {_label(shape) for shape in shapes if is_complete and _label(shape)[0] != "("}
    for index, item in enumerate(value):
        here = f"{place}[{index}]"
        about = shapes if len(shapes) == 1 else [s for s in shapes if _is_about(s, item)]
        if about:
            missing.discard(_label(about[0]))
            yield from _compare(about[0], item, here)
        else:
            known = " | ".join(_bare(_label(shape)) for shape in shapes)
            message = f"{_short(item)} is not allowed; use one of {known}, or remove it"
            yield _problem(here, message)
    for label in sorted(missing):
        yield _problem(place, f"missing; give {label}")


def _label(shape: Any) -> str:
    """The text by which an item is known: itself, or what its first key has."""
    return str(next(iter(shape.values())) if isinstance(shape, dict) else shape)


def _is_about(shape: Any, item: Any) -> bool:
    if isinstance(shape, dict) and isinstance(item, dict):
        item = item.get(next(iter(shape)))
    return isinstance(item, str) and _pattern(_label(shape)).fullmatch(item) is not None


def _compare_text(shape: str, value: Any, place: str) -> Iterator[Finding]:
    limits = _RANGE.fullmatch(shape)
    if limits or shape == "<true or false>":
        wanted = int if limits else bool
        low, high = map(int, limits.groups()) if limits else (0, 1)
        if type(value) is not wanted or not low <= value <= high:
            yield _wrong(shape, value, place)
        return
    match = _pattern(shape).fullmatch(value) if isinstance(value, str) else None
    if match is None:
        yield _wrong(shape, value, place)
        return
    for name, text in match.groupdict().items():
        yield Value(name, text, place)
        if name in PARAMETERS and (fault := fault_of(name, text)):
            yield _problem(place, fault)


@functools.cache
def _pattern(shape: str) -> re.Pattern[str]:
    parts, end, names = [], 0, set()
    text = _bare(shape)
    for blank in _BLANK.finditer(text):
        name, kind = blank.groups()
        parts.append(re.escape(text[end : blank.start()]))
        end = blank.end()
        if kind:
            parts.append(f"(?:{_lists()['kinds'][kind]})")
        elif name in names:
            parts.append(f"(?P={name})")
        else:
            pattern = PARAMETERS[name].pattern if name in PARAMETERS else _LABEL
            parts.append(f"(?P<{name}>{pattern})")
            names.add(name)
    return re.compile("".join(parts) + re.escape(text[end:]))


def _wrong(shape: Any, value: Any, place: str) -> Problem:
    return _problem(place or "file", f"{_short(value)} is not allowed; give {_describe(shape)}")


def _problem(place: str, message: str) -> Problem:
    """A problem with the reason that ``allowed.yaml`` gives for the nearest key."""
    reasons = _lists()["why"]
    keys = reversed(re.findall(r"[^.\[\]]+", place))
    why = next((f" ({reasons[key]})" for key in keys if key in reasons), "")
    return Problem(place, message + why)


def _name(rule: str) -> str:
    """A key without the marks of the list."""
    return _bare(rule.rstrip("*+"))


def _bare(text: str) -> str:
    """A text without the brackets that let it be missing."""
    return text[1:-1] if text[:1] == "(" and text[-1:] == ")" else text


def _describe(shape: Any) -> str:
    if isinstance(shape, dict):
        return f"a mapping of {', '.join(map(_name, shape))}" if shape else "{}"
    if isinstance(shape, list):
        return f"a list of {' | '.join(map(_describe, shape))}" if shape else "[]"
    if not isinstance(shape, str):
        return json.dumps(shape)
    name = shape.strip("${}")
    return f"{name}, the {PARAMETERS[name].meaning}" if name in PARAMETERS else _bare(shape)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 80 else f"{text[:76]}..."
