from __future__ import annotations

from typing import Any

import pytest

from cluster.permissions import check_iam_policy
from cluster.policy import node_types
from tests.cluster.filled import VALUES, filled

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
