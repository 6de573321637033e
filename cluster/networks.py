"""Which networks may come in: those of one user or one site, not half of the internet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from cluster.problems import Problem, mapping, sequence, strings_in

WIDEST_PREFIX = {4: 16, 6: 32}
"""IP version -> prefix length of the widest network that may be let in."""
_NETWORK = re.compile(r"[0-9A-Fa-f:.]+/[0-9.]+")
_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_SOURCES = ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")
_ADVICE = "give the network you connect from, /16 or narrower (IPv6: /32)"


def is_group(value: object) -> bool:
    """Whether a value is the id of a security group."""
    return isinstance(value, str) and _GROUP.fullmatch(value) is not None


def find_open_networks(content: Any) -> Iterator[Problem]:
    """Every network in a file that is too wide, in whichever way it is written."""
    for place, text in strings_in(content):
        for word in _NETWORK.findall(text):
            if _is_too_wide(word):
                yield Problem(place=place, message=f"open to {word}; {_ADVICE}")


def check_security_group(rules: Any) -> list[Problem]:
    """Judge the inbound rules of the nodes' security group.

    Args:
        rules: The parsed JSON, a list as ``authorize-security-group-ingress`` takes it.
    """
    found = list(find_open_networks(rules))
    groups: set[str] = set()
    for index, rule in enumerate(rules):
        found += [Problem(place=f"[{index}]", message=message) for message in _faults(rule)]
        groups |= {str(mapping(pair).get("GroupId")) for pair in sequence(rule, "UserIdGroupPairs")}
    if len(groups) > 1:
        message = f"more than one group ({', '.join(sorted(groups))}); name the nodes' own"
        found.append(Problem(place="UserIdGroupPairs", message=message))
    return found


def _faults(rule: Any) -> Iterator[str]:
    if not isinstance(rule, dict):
        yield "no mapping"
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
        if _parse(str(network.get(key))) is None:
            yield f"{key} is {network.get(key)!r}, no network; {_ADVICE}"
    is_ssh = (rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort")) == ("tcp", 22, 22)
    if networks and not is_ssh:
        yield "only SSH (tcp, port 22) may come from outside; use `ray dashboard` for the rest"
    for pair in map(mapping, sequence(rule, "UserIdGroupPairs")):
        if not is_group(pair.get("GroupId")) or set(pair) - {"GroupId", "Description"}:
            yield "name the nodes' own group by GroupId (sg-...), and no other account's"


def _is_too_wide(text: str) -> bool:
    network = _parse(text)
    return network is not None and network.prefixlen < WIDEST_PREFIX[network.version]


def _parse(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
