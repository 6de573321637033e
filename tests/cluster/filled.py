"""The shipped files, filled with values that look like a user's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from nasi_ray.cluster.parameters import fill, resolve, template_path
from nasi_ray.cluster.validate import check_cluster

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


def problems_after(change: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is wrong with the shipped cluster once it has been changed."""
    config = without_aliases(filled("ray-cluster.yaml"))
    change(config)
    return [str(problem) for problem in check_cluster(config)]


def check_told(problems: Iterable[object], message: str) -> None:
    """One of the problems says so, and each is one line."""
    told = [str(problem) for problem in problems]
    assert any(message in line for line in told), told
    assert not any("\n" in line for line in told)
