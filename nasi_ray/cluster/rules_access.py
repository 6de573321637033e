"""Who may reach the nodes, and what the nodes' roles may do: security groups and IAM policies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from nasi_ray.cluster.documents import Problem, mapping, sequence, strings_in

WIDEST_PREFIX = {4: 16, 6: 32}
"""IP version -> prefix length of the widest network that may be let in."""
_NETWORK = re.compile(r"[0-9A-Fa-f:.]+/[0-9.]+")
_GROUP_ID = re.compile(r"sg-[0-9a-f]{8,17}")
_SOURCES = ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")
_ADVICE = "give the network you connect from, /16 or narrower (IPv6: /32)"

_WITHOUT_RESOURCE = frozenset(
    {"ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ecr:GetAuthorizationToken"}
)
"""Actions that AWS cannot restrict to a resource."""
_ON_OBJECTS = frozenset(
    {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
)
_TAG = "ray-cluster-name"
_NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "ec2:TerminateInstances": ((f"aws:ResourceTag/{_TAG}",),),
    "ec2:CreateTags": (
        (f"aws:ResourceTag/{_TAG}",),
        ("ec2:CreateAction", f"aws:RequestTag/{_TAG}"),
    ),
    "iam:PassRole": (("iam:PassedToService",),),
}
"""Action -> sets of condition keys, one of which must restrict it."""
_LAUNCH = (
    f"aws:RequestTag/{_TAG}",
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


def is_group(value: object) -> bool:
    """Whether a value is the id of a security group."""
    return isinstance(value, str) and _GROUP_ID.fullmatch(value) is not None


def find_open_networks(content: Any) -> Iterator[Problem]:
    """Every network in a file that is too wide, in whichever way it is written."""
    for place, text in strings_in(content):
        for word in _NETWORK.findall(text):
            if _is_too_wide(word):
                yield Problem(place, f"open to {word}; {_ADVICE}")


def check_security_group(rules: Any) -> list[Problem]:
    """Judge the inbound rules of the nodes' security group.

    Args:
        rules: The parsed JSON, a list as ``authorize-security-group-ingress`` takes it.
    """
    found = list(find_open_networks(rules))
    groups: set[str] = set()
    for index, rule in enumerate(rules):
        found += [Problem(f"[{index}]", message) for message in _rule_faults(rule)]
        groups |= {str(mapping(pair).get("GroupId")) for pair in sequence(rule, "UserIdGroupPairs")}
    if len(groups) > 1:
        message = f"more than one group ({', '.join(sorted(groups))}); name the nodes' own"
        found.append(Problem("UserIdGroupPairs", message))
    return found


def _rule_faults(rule: Any) -> Iterator[str]:
    if not isinstance(rule, dict):
        yield "not a mapping"
        return
    unknown = set(rule) - {"IpProtocol", "FromPort", "ToPort", *_SOURCES}
    if unknown:
        yield f"unknown: {', '.join(sorted(unknown))}"
    if not any(sequence(rule, key) for key in _SOURCES):
        yield f"no source; give one of {', '.join(_SOURCES)}"
    if "PrefixListIds" in rule:
        yield "a prefix list may hold any network; name the network"
    networks = [(mapping(r), "CidrIp") for r in sequence(rule, "IpRanges")]
    networks += [(mapping(r), "CidrIpv6") for r in sequence(rule, "Ipv6Ranges")]
    for network, key in networks:
        if _parse_network(str(network.get(key))) is None:
            yield f"{key} is {network.get(key)!r}, not a network; {_ADVICE}"
    is_ssh = (rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort")) == ("tcp", 22, 22)
    if networks and not is_ssh:
        yield "only SSH (tcp, port 22) may come from outside; use `ray dashboard` for the rest"
    for pair in map(mapping, sequence(rule, "UserIdGroupPairs")):
        if not is_group(pair.get("GroupId")) or set(pair) - {"GroupId", "Description"}:
            yield "name the nodes' own group by GroupId (sg-...), and no other account's"


def _is_too_wide(text: str) -> bool:
    network = _parse_network(text)
    return network is not None and network.prefixlen < WIDEST_PREFIX[network.version]


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def check_iam_policy(policy: Any) -> list[Problem]:
    """Judge one policy document.

    Args:
        policy: The parsed JSON.
    """
    statements = sequence(policy, "Statement")
    if not statements:
        return [Problem("Statement", "missing or not a list")]
    found: list[Problem] = []
    for index, statement in enumerate(statements):
        place = f"Statement[{mapping(statement).get('Sid') or index}]"
        found += [Problem(place, message) for message in _statement_faults(mapping(statement))]
    return found


def _as_list(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _statement_faults(statement: dict[str, Any]) -> Iterator[str]:
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
