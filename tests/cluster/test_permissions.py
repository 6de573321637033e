from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.permissions import check_iam_policy, check_security_group
from cluster.policy import node_types
from tests.cluster.filled import VALUES, filled, filled_text

ARN = "arn:aws:ec2:us-west-2:123456789012"


def policy(**statement: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ({"Action": "ec2:*", "Resource": f"{ARN}:instance/*"}, "ec2:*: name the actions"),
        ({"Action": "*", "Resource": "*"}, "*: name the actions"),
        ({"Action": "s3:GetObject", "Resource": "*"}, "s3:GetObject on every resource"),
        ({"Action": "s3:PutObject", "Resource": "arn:aws:s3:::*/*"}, "on every bucket"),
        (
            {"Action": ["ec2:TerminateInstances"], "Resource": f"{ARN}:instance/*"},
            "ec2:TerminateInstances on machines of others",
        ),
        ({"Action": "ec2:CreateTags", "Resource": f"{ARN}:instance/*"}, "machines of others"),
        (
            {"Action": "ec2:RunInstances", "Resource": f"{ARN}:instance/*"},
            "give a condition on ec2:InstanceProfile",
        ),
        ({"Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/a"}, "iam:PassedToService"),
        ({"Action": "iam:PassRole", "Resource": "arn:aws:iam::1:role/*"}, "name the role"),
        ({"NotAction": "iam:*", "Resource": "*"}, "NotAction and NotResource"),
        ({"Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}, "only ec2.amazonaws.com"),
        ({"Principal": "*", "Action": "sts:AssumeRole"}, "only ec2.amazonaws.com"),
    ],
)
def test_too_much_is_found(statement: dict[str, Any], message: str) -> None:
    assert message in " ".join(str(p) for p in check_iam_policy(policy(**statement)))


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


def test_workers_may_touch_nothing_but_the_run_prefix_and_the_image() -> None:
    statements = filled("cluster/iam/worker-policy.json")["Statement"]
    actions = [
        a
        for s in statements
        for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    ]
    assert {action.split(":")[0] for action in actions} == {"s3", "ecr"}
    objects = [s["Resource"] for s in statements if "s3:GetObject" in s["Action"]]
    assert objects == [f"arn:aws:s3:::{VALUES['NASI_BUCKET']}/runs/*"]


def test_a_missing_object_is_told_from_a_forbidden_one() -> None:
    # S3 says 404 only to those who may list the bucket, and that is asked without a prefix.
    for kind in ("head", "worker"):
        statements = filled(f"cluster/iam/{kind}-policy.json")["Statement"]
        (condition,) = [s["Condition"] for s in statements if s["Action"] == "s3:ListBucket"]
        assert condition == {"StringLikeIfExists": {"s3:prefix": ["runs", "runs/*"]}}


def test_only_ssh_from_the_given_network_comes_in() -> None:
    rules = json.loads(filled_text("cluster/security-group.json", NASI_SSH_CIDR="198.51.100.0/24"))
    outside = [rule for rule in rules if "IpRanges" in rule]
    assert [(r["FromPort"], r["IpRanges"][0]["CidrIp"]) for r in outside] == [
        (22, "198.51.100.0/24")
    ]
    rules[0]["FromPort"], rules[0]["ToPort"] = 8265, 8265
    assert "only SSH" in str(check_security_group(rules)[0])
    rules[0]["IpRanges"][0]["CidrIp"] = "0.0.0.0/0"
    assert "open to 0.0.0.0/0" in str(check_security_group(rules)[0])
