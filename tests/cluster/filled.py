"""The shipped files, filled with values that look like a user's, and changed in one place."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from nasi_ray.cluster.parameters import fill, resolve, template_path
from nasi_ray.cluster.validate import check_text

VALUES = {
    "NASI_ACCOUNT": "123456789012",
    "NASI_REGION": "us-west-2",
    "NASI_ZONES": "us-west-2a,us-west-2b",
    "NASI_AMI": "ami-0123456789abcdef0",
    "NASI_SECURITY_GROUP": "sg-0123456789abcdef0",
    "NASI_SSH_CIDR": "203.0.113.7/32",
    "NASI_IMAGE": "123456789012.dkr.ecr.us-west-2.amazonaws.com/nasi@sha256:" + "a1" * 32,
    "NASI_BUCKET": "nasi-123456789012",
}
GONE = object()
"""In place of a value: the key or item is taken away."""


def filled_text(name: str, **values: str) -> str:
    """A shipped file, rendered."""
    text = template_path(name).read_text(encoding="utf-8")
    return fill(text, resolve({**VALUES, **values}, {}), place=name)


def filled(name: str) -> Any:
    """A shipped file, rendered and parsed; the last document of several."""
    return list(yaml.safe_load_all(filled_text(name)))[-1]


def without_aliases(content: Any) -> Any:
    """A copy in which anchors no longer make one change reach several places."""
    return json.loads(json.dumps(content))


def changed_text(name: str, path: str, value: Any, *, kind: str | None = None) -> str:
    """A shipped file, rendered, with one value set, added or taken away.

    Args:
        name: Of the file.
        path: ``a.b[0].c``; ``[+]`` adds an item to a list, and a key in quotes may have dots.
        value: What to put there, or ``GONE``.
        kind: Of a Kubernetes object with a ``path`` that exists, else the last document.
    """
    documents = json.loads(_documents(name))
    document = next((d for d in documents if kind and d["kind"] == kind), documents[-1])
    *parents, last = keys_of(path)
    container = document
    for key in parents:
        container = container[key]
    if value is GONE:
        del container[last]
    elif last == "+":
        container.append(value)
    else:
        container[last] = value
    if name.endswith(".json"):
        return json.dumps(document)
    dumped: str = yaml.safe_dump_all(documents, sort_keys=False)
    return dumped


@functools.cache
def _documents(name: str) -> str:
    """As JSON: in it, anchors do not make one change reach several places."""
    return json.dumps(list(yaml.safe_load_all(filled_text(name))))


def keys_of(path: str) -> list[Any]:
    """The keys and indices of a path."""
    parts = re.findall(r'"([^"]+)"|\[([0-9]+|\+)\]|([^.\[\]"]+)', path)
    return [int(i) if i.isdigit() else quoted or i or plain for quoted, i, plain in parts]


def problems_after(name: str, path: str, value: Any, *, kind: str | None = None) -> list[str]:
    """What is wrong with a shipped file once it has been changed; arguments as above."""
    text = changed_text(name, path, value, kind=kind)
    return [str(problem) for problem in check_text(text, name=Path(name).name)]


def check_told(problems: Iterable[object], message: str) -> None:
    """One of the problems says so, and each is one line."""
    told = [str(problem) for problem in problems]
    assert any(message in line for line in told), told
    assert not any("\n" in line for line in told)


def is_near(problem: str, path: str) -> bool:
    """Whether a problem's place is a path, or above or below it."""
    place = keys_of(problem.split(": ", 1)[0].replace("+", ""))
    wanted = [key for key in keys_of(path.replace('"', "")) if key != "+"]
    return all(a == b for a, b in zip(map(str, place), map(str, wanted), strict=False))
