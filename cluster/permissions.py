"""What the policies of the nodes' roles, and the rules of their security group, may not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.problems import Problem, find_open_networks, mapping, sequence

_WITHOUT_RESOURCE = frozenset(
    {"ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ecr:GetAuthorizationToken"}
)
"""Actions that AWS cannot restrict to a resource."""
_NEED_TAG = {
    "ec2:TerminateInstances": "aws:ResourceTag/ray-cluster-name",
    "ec2:CreateTags": "/ray-cluster-name",
}


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
    if statement.get("Effect") != "Allow":
        return
    if "NotAction" in statement or "NotResource" in statement:
        yield "NotAction and NotResource allow all that is not named; name what is allowed"
    if "Principal" in statement:
        if mapping(statement, "Principal") != {"Service": "ec2.amazonaws.com"}:
            yield "only ec2.amazonaws.com may take the role"
        return
    actions, resources = _as_list(statement.get("Action")), _as_list(statement.get("Resource"))
    keys = " ".join(
        key for test in mapping(statement, "Condition").values() for key in mapping(test)
    )
    for action in actions:
        if "*" in action:
            yield f"{action}: name the actions"
        if action not in _WITHOUT_RESOURCE and "*" in resources:
            yield f"{action} on every resource; name those of the cluster"
        needed = _NEED_TAG.get(action)
        if needed and needed not in keys:
            yield f"{action} on machines of others; give a condition on {needed.lstrip('/')}"
        if action == "ec2:RunInstances" and any(":instance/" in r for r in resources):
            yield from _launch_faults(keys)
        if action == "iam:PassRole" and "iam:PassedToService" not in keys:
            yield "iam:PassRole: give a condition on iam:PassedToService"
        if action == "iam:PassRole" and any("*" in r for r in resources):
            yield "iam:PassRole: name the role; a pattern lets the head take on others"
        if action.startswith("s3:") and any(r.split(":")[-1] in ("*", "*/*") for r in resources):
            yield f"{action} on every bucket; name the run prefix"


def _launch_faults(keys: str) -> Iterator[str]:
    for key in (
        "aws:RequestTag/ray-cluster-name",
        "ec2:InstanceType",
        "ec2:InstanceProfile",
        "ec2:MetadataHttpTokens",
    ):
        if key not in keys:
            yield f"ec2:RunInstances: give a condition on {key}"


def check_security_group(rules: Any) -> list[Problem]:
    """Judge the inbound rules of the nodes' security group.

    Args:
        rules: The parsed JSON, a list as ``authorize-security-group-ingress`` takes it.
    """
    found = list(find_open_networks(rules))
    for index, rule in enumerate(rules):
        has_network = sequence(rule, "IpRanges") or sequence(rule, "Ipv6Ranges")
        ports = (mapping(rule).get("FromPort"), mapping(rule).get("ToPort"))
        if has_network and ports != (22, 22):
            found.append(
                Problem(
                    place=f"[{index}]",
                    message="only SSH (port 22) may come from outside; reach the dashboard "
                    "through `ray dashboard`",
                )
            )
    return found
