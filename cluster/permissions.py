"""What the policies of the nodes' roles may not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.problems import Problem, mapping, sequence

_WITHOUT_RESOURCE = frozenset(
    {"ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ecr:GetAuthorizationToken"}
)
"""Actions that AWS cannot restrict to a resource."""
_ON_OBJECTS = frozenset(
    {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
)
_CLUSTER = "ray-cluster-name"
_NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "ec2:TerminateInstances": ((f"aws:ResourceTag/{_CLUSTER}",),),
    "ec2:CreateTags": (
        (f"aws:ResourceTag/{_CLUSTER}",),
        ("ec2:CreateAction", f"aws:RequestTag/{_CLUSTER}"),
    ),
    "iam:PassRole": (("iam:PassedToService",),),
}
"""Action -> sets of condition keys, one of which must restrict it."""
_LAUNCH = (
    f"aws:RequestTag/{_CLUSTER}",
    "ec2:InstanceType",
    "ec2:InstanceProfile",
    "ec2:MetadataHttpTokens",
)
_ONLY_VALUE = {
    "ec2:CreateAction": "RunInstances",
    "ec2:MetadataHttpTokens": "required",
    "iam:PassedToService": "ec2.amazonaws.com",
}
_KNOWN = frozenset(
    {*_WITHOUT_RESOURCE, *_ON_OBJECTS, *_NEEDED, "ec2:RunInstances", "s3:ListBucket"}
    | {"ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"}
)
"""All that a node has to do, in AWS's own spelling."""
_RESTRICTING = ("StringEquals", "StringLike", "ArnEquals", "ArnLike")


def check_iam_policy(policy: Any) -> list[Problem]:
    """Judge one policy document.

    Args:
        policy: The parsed JSON.
    """
    statements = sequence(policy, "Statement")
    if not statements:
        return [Problem(place="Statement", message="missing or no list")]
    found: list[Problem] = []
    for index, statement in enumerate(statements):
        place = f"Statement[{mapping(statement).get('Sid') or index}]"
        found += [Problem(place=place, message=message) for message in _faults(mapping(statement))]
    return found


def _as_list(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _faults(statement: dict[str, Any]) -> Iterator[str]:
    if statement.get("Effect") == "Deny":
        return
    if statement.get("Effect") != "Allow":
        yield "Effect must be Allow or Deny"
    if {"NotAction", "NotResource", "NotPrincipal"} & set(statement):
        yield "NotAction, NotResource and NotPrincipal allow all that is not named; name it"
    if "Principal" in statement:
        if mapping(statement, "Principal") != {"Service": "ec2.amazonaws.com"}:
            yield "only ec2.amazonaws.com may take the role"
        if statement.get("Action") != "sts:AssumeRole":
            yield "Action must be sts:AssumeRole"
        return
    resources = _as_list(statement.get("Resource"))
    conditions = mapping(statement, "Condition")
    yield from _weak_conditions(conditions)
    restricting = _restricting(conditions)
    for action in _as_list(statement.get("Action")):
        yield from _action_faults(action, resources, restricting)


def _action_faults(action: str, resources: list[str], restricting: set[str]) -> Iterator[str]:
    if "*" in action or "?" in action:
        yield f"{action}: name the actions"
        return
    if action not in _KNOWN:
        yield f"{action}: no node needs it; known are {', '.join(sorted(_KNOWN))}"
        return
    if action not in _WITHOUT_RESOURCE:
        for resource in resources:
            yield from _resource_faults(action, resource)
    choices = _NEEDED.get(action, ())
    if choices and not any(restricting.issuperset(keys) for keys in choices):
        wanted = ", or ".join(" and ".join(keys) for keys in choices)
        yield f"{action} on what is not the cluster's; give a condition on {wanted}"
    if action == "ec2:RunInstances" and any(":instance/" in r for r in resources):
        for key in _LAUNCH:
            if key not in restricting:
                yield f"{action}: give a condition on {key}"


def _resource_faults(action: str, resource: str) -> Iterator[str]:
    parts = resource.split(":", 5)
    if len(parts) != 6 or _is_pattern("".join(parts[:5])):
        yield f"{action} on every resource ({resource}); name those of the cluster"
        return
    kind, _, name = parts[5].partition("/")
    if action.startswith("s3:") and _is_pattern(kind):
        yield f"{action} on every bucket ({resource}); name the run prefix"
    elif action in _ON_OBJECTS and _is_pattern(name.partition("/")[0]):
        yield f"{action} on all of a bucket ({resource}); name the run prefix"
    elif _is_pattern(kind):
        yield f"{action} on every kind of resource ({resource}); name the kind"
    elif action == "iam:PassRole" and _is_pattern(name):
        yield "iam:PassRole: name the role; a pattern lets the head take on others"


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def _weak_conditions(conditions: Mapping[str, Any]) -> Iterator[str]:
    for operator, test in conditions.items():
        for key, values in mapping(test).items():
            if "Not" in operator or operator == "Null":
                yield f"{operator} on {key} allows all that is not named; name what is allowed"
            # S3 asks without a prefix to tell a missing object from a forbidden one.
            if operator.endswith("IfExists") and key != "s3:prefix":
                yield f"{operator} on {key} allows requests without it; leave IfExists out"
            if any(not value.strip("*?") for value in _as_list(values)):
                yield f"{operator} on {key} allows every value; name those of the cluster"


def _restricting(conditions: Mapping[str, Any]) -> set[str]:
    """Condition keys that each request must have, with one of the values named in full."""
    found = set()
    for operator in _RESTRICTING:
        for key, values in mapping(conditions, operator).items():
            named = _as_list(values)
            is_expected = key not in _ONLY_VALUE or named == [_ONLY_VALUE[key]]
            if is_expected and not any(map(_is_pattern, named)):
                found.add(key)
    return found
