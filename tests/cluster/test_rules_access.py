from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nasi_ray.cluster.rules_access import (
    check_iam_policy,
    check_security_group,
    find_open_networks,
)
from nasi_ray.cluster.rules_cluster import node_types
from tests.cluster.filled import VALUES, filled, filled_text

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
        "[0]: CidrIp is '0.0.0/0', not a network",
    ),
    "no network of IPv6": (
        lambda r: r[0].update(Ipv6Ranges=[{"Description": "x"}]),
        "[0]: CidrIpv6 is None, not a network",
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
    "a number": (lambda r: r.append(3), "[2]: not a mapping"),
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


ARN = "arn:aws:ec2:us-west-2:123456789012"
INSTANCES = f"{ARN}:instance/*"
ROLE = "arn:aws:iam::123456789012:role/nasi-worker"
OWN = {"aws:ResourceTag/ray-cluster-name": "nasi"}
NEW = {"aws:RequestTag/ray-cluster-name": "nasi"}
LAUNCH = {
    **NEW,
    "ec2:InstanceType": "g5.2xlarge",
    "ec2:InstanceProfile": "arn:aws:iam::123456789012:instance-profile/nasi-worker",
    "ec2:MetadataHttpTokens": "required",
}


def policy(**statement: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ({"Action": "ec2:*", "Resource": f"{ARN}:instance/*"}, "ec2:*: name the actions"),
        ({"Action": "*", "Resource": "*"}, "*: name the actions"),
        ({"Action": "s3:GetObject", "Resource": "*"}, "s3:GetObject on every resource"),
        ({"Action": "s3:GetObject"}, "s3:GetObject on every resource"),
        ({"Action": "s3:PutObject", "Resource": "arn:aws:s3:::*/*"}, "on every bucket"),
        ({"Action": "s3:PutObject", "Resource": "arn:aws:s3:::nasi*/runs/*"}, "on every bucket"),
        ({"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::nasi-?"}, "on every bucket"),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::nasi/*"}, "on all of a bucket"),
        ({"Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:*"}, "on every resource"),
        ({"Action": "ec2:RunInstances", "Resource": f"{ARN}:*"}, "on every kind of resource"),
        ({"Action": "ec2:RunInstances", "Resource": f"{ARN}:inst*/*"}, "on every kind"),
        ({"Action": "iam:PassRole", "Resource": ROLE}, "iam:PassedToService"),
        ({"Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/*"}, "name the role"),
        ({"NotAction": "iam:*", "Resource": "*"}, "NotAction, NotResource and NotPrincipal"),
        ({"Action": "s3:GetObject", "NotResource": "x"}, "NotAction, NotResource and Not"),
        ({"NotPrincipal": {"AWS": "x"}, "Action": "sts:AssumeRole"}, "and NotPrincipal"),
        ({"Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}, "only ec2.amazonaws.com"),
        ({"Principal": "*", "Action": "sts:AssumeRole"}, "only ec2.amazonaws.com"),
        (
            {"Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:*"},
            "Action must be sts:AssumeRole",
        ),
        ({"Effect": "allow"}, "Effect must be Allow or Deny"),
        ({"Action": "iam:CreateAccessKey", "Resource": ROLE}, "no node needs it"),
        (
            {"Action": "ec2:AuthorizeSecurityGroupIngress", "Resource": f"{ARN}:security-group/x"},
            "ec2:AuthorizeSecurityGroupIngress: no node needs it",
        ),
        ({"Action": "EC2:terminateInstances", "Resource": INSTANCES}, "no node needs it"),
        ({"Action": "ec2:Terminate?nstances", "Resource": INSTANCES}, "name the actions"),
    ],
)
def test_too_much_is_found(statement: dict[str, Any], message: str) -> None:
    assert message in " ".join(str(p) for p in check_iam_policy(policy(**statement)))


@pytest.mark.parametrize(
    ("action", "condition", "message"),
    [
        ("ec2:TerminateInstances", {"StringNotEquals": OWN}, "StringNotEquals on aws:ResourceTag"),
        ("ec2:TerminateInstances", {"StringEqualsIfExists": OWN}, "leave IfExists out"),
        ("ec2:TerminateInstances", {"Null": OWN}, "Null on aws:ResourceTag"),
        ("ec2:TerminateInstances", {"ForAllValues:StringEquals": OWN}, "give a condition on"),
        (
            "ec2:TerminateInstances",
            {"StringLike": {"aws:ResourceTag/ray-cluster-name": ["nasi", "*"]}},
            "allows every value",
        ),
        (
            "ec2:TerminateInstances",
            {"StringLike": {"aws:ResourceTag/ray-cluster-name": "n*"}},
            "give a condition on aws:ResourceTag/ray-cluster-name",
        ),
        ("ec2:CreateTags", {"StringEquals": NEW}, "ec2:CreateAction and aws:RequestTag"),
        (
            "ec2:CreateTags",
            {"StringEquals": {**NEW, "ec2:CreateAction": "CreateTags"}},
            "ec2:CreateAction and aws:RequestTag",
        ),
        (
            "iam:PassRole",
            {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
            "give a condition on iam:PassedToService",
        ),
        *(
            (
                "ec2:RunInstances",
                {"StringEquals": {k: v for k, v in LAUNCH.items() if k != key}},
                f"ec2:RunInstances: give a condition on {key}",
            )
            for key in LAUNCH
        ),
        (
            "ec2:RunInstances",
            {"StringEquals": {**LAUNCH, "ec2:MetadataHttpTokens": "optional"}},
            "ec2:RunInstances: give a condition on ec2:MetadataHttpTokens",
        ),
    ],
)
def test_a_condition_that_restricts_nothing_is_found(
    action: str, condition: dict[str, Any], message: str
) -> None:
    resource = ROLE if action == "iam:PassRole" else INSTANCES
    statement = policy(Action=action, Resource=resource, Condition=condition)
    assert message in " ".join(str(p) for p in check_iam_policy(statement))


@pytest.mark.parametrize(
    ("action", "condition"),
    [
        ("ec2:TerminateInstances", OWN),
        ("ec2:CreateTags", OWN),
        ("ec2:CreateTags", {**NEW, "ec2:CreateAction": "RunInstances"}),
        ("ec2:RunInstances", LAUNCH),
        ("iam:PassRole", {"iam:PassedToService": "ec2.amazonaws.com"}),
    ],
)
def test_a_condition_that_restricts_is_enough(action: str, condition: dict[str, str]) -> None:
    resource = ROLE if action == "iam:PassRole" else INSTANCES
    statement = policy(Action=action, Resource=resource, Condition={"StringEquals": condition})
    assert check_iam_policy(statement) == []


def test_a_denial_may_be_wide() -> None:
    denial = {"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
    assert check_iam_policy(denial) == []


def test_the_head_may_launch_the_types_of_the_cluster_with_the_workers_profile_only() -> None:
    cluster = filled("ray-cluster.yaml")
    statements = {s["Sid"]: s for s in filled("cluster/iam/head-policy.json")["Statement"]}
    allowed = statements["LaunchOwnWorkers"]["Condition"]
    workers = {k: v for k, v in node_types(cluster).items() if k != cluster["head_node_type"]}
    assert set(allowed["StringEquals"]["ec2:InstanceType"]) == {
        w["node_config"]["InstanceType"] for w in workers.values()
    }
    profiles = {w["node_config"]["IamInstanceProfile"]["Name"] for w in workers.values()}
    assert profiles == {allowed["ArnEquals"]["ec2:InstanceProfile"].split("/")[-1]}
    assert profiles == {statements["PassWorkerRoleOnly"]["Resource"].split("/")[-1]}
    assert allowed["StringEquals"]["aws:RequestTag/ray-cluster-name"] == cluster["cluster_name"]


def actions(name: str) -> set[str]:
    statements = filled(name)["Statement"]
    named = [s["Action"] for s in statements]
    return {a for n in named for a in ([n] if isinstance(n, str) else n)}


def test_workers_may_pull_the_image_and_nothing_else() -> None:
    assert {a.split(":")[0] for a in actions("cluster/iam/worker-policy.json")} == {"ecr"}


def test_who_runs_the_driver_may_touch_the_run_prefix_only() -> None:
    assert {a.split(":")[0] for a in actions("cluster/iam/run-policy.json")} == {"s3"}
    run, head = (filled(f"cluster/iam/{kind}-policy.json")["Statement"] for kind in ("run", "head"))
    assert [s for s in head if s in run] == run
    objects = [s["Resource"] for s in run if "s3:GetObject" in s["Action"]]
    assert objects == [f"arn:aws:s3:::{VALUES['NASI_BUCKET']}/runs/*"]


def test_a_missing_object_is_told_from_a_forbidden_one() -> None:
    # S3 says 404 only to those who may list the bucket, and that is asked without a prefix.
    statements = filled("cluster/iam/run-policy.json")["Statement"]
    (condition,) = [s["Condition"] for s in statements if s["Action"] == "s3:ListBucket"]
    assert condition == {"StringLikeIfExists": {"s3:prefix": ["runs", "runs/*"]}}
