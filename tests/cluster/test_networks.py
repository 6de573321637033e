from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cluster.networks import check_security_group, find_open_networks
from tests.cluster.filled import filled, filled_text

Rules = list[Any]


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0",
        "0.0.0.0/00",
        "0.0.0.0/0.0.0.0",
        "0.0.0.0/1",
        "10.1.2.3/15",
        "::/0",
        "::0/0",
        "0:0:0:0:0:0:0:0/0",
        "0000::/1",
        "2001:db8::/31",
    ],
)
def test_a_wide_network_is_found_however_it_is_written(network: str) -> None:
    (problem,) = find_open_networks({"a": ["x", f"from {network}, say"]})
    assert str(problem).startswith(f"a[1]: open to {network}; give the network you connect from")


@pytest.mark.parametrize(
    "text", ["10.1.0.0/16", "203.0.113.7/32", "2001:db8::/32", "s3://bucket/1", "a/0", "1/2", "::"]
)
def test_what_is_narrow_or_no_network_is_left_alone(text: str) -> None:
    assert list(find_open_networks([text])) == []


MUTATIONS: dict[str, tuple[Callable[[Rules], object], str]] = {
    "half of the internet": (
        lambda r: r[0]["IpRanges"][0].update(CidrIp="128.0.0.0/1"),
        "[0].IpRanges[0].CidrIp: open to 128.0.0.0/1",
    ),
    "IPv6 from anywhere": (
        lambda r: r[0].update(Ipv6Ranges=[{"CidrIpv6": "0::0/0"}]),
        "[0].Ipv6Ranges[0].CidrIpv6: open to 0::0/0",
    ),
    "no network": (
        lambda r: r[0]["IpRanges"][0].update(CidrIp="0.0.0/0"),
        "[0]: CidrIp is '0.0.0/0', no network",
    ),
    "no network of IPv6": (
        lambda r: r[0].update(Ipv6Ranges=[{"Description": "x"}]),
        "[0]: CidrIpv6 is None, no network",
    ),
    "the dashboard": (lambda r: r[0].update(FromPort=8265, ToPort=8265), "[0]: only SSH"),
    "all protocols": (lambda r: r[0].update(IpProtocol="-1"), "[0]: only SSH"),
    "UDP": (lambda r: r[0].update(IpProtocol="udp"), "[0]: only SSH"),
    "a prefix list": (
        lambda r: r.append({"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}),
        "[2]: a prefix list may hold any network",
    ),
    "another group": (
        lambda r: r[1]["UserIdGroupPairs"].append({"GroupId": "sg-00000000"}),
        "UserIdGroupPairs: more than one group (sg-00000000, sg-0123456789abcdef0)",
    ),
    "a group by name": (
        lambda r: r[1].update(UserIdGroupPairs=[{"GroupName": "default"}]),
        "[1]: name the nodes' own group by GroupId",
    ),
    "another account": (
        lambda r: r[1]["UserIdGroupPairs"][0].update(UserId="210987654321"),
        "[1]: name the nodes' own group by GroupId",
    ),
    "no source": (lambda r: r[1].pop("UserIdGroupPairs"), "[1]: no source"),
    "a typo": (lambda r: r[1].update(IpRange=[]), "[1]: unknown: IpRange"),
    "a number": (lambda r: r.append(3), "[2]: no mapping"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_in_the_security_group_is_found(name: str) -> None:
    change, message = MUTATIONS[name]
    rules = filled("cluster/security-group.json")
    assert check_security_group(rules) == []
    change(rules)
    problems = [str(problem) for problem in check_security_group(rules)]
    assert any(problem.startswith(message) for problem in problems), problems


def test_only_ssh_from_the_given_network_comes_in() -> None:
    rules = json.loads(filled_text("cluster/security-group.json", NASI_SSH_CIDR="198.51.100.0/24"))
    assert [(r["FromPort"], r["IpRanges"][0]["CidrIp"]) for r in rules if "IpRanges" in r] == [
        (22, "198.51.100.0/24")
    ]
    assert check_security_group(rules) == []
