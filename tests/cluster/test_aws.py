"""Ray's own code for AWS, run on the shipped configuration against a simulated EC2 (moto)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from ray.autoscaler._private.aws import config as ray_aws
from ray.autoscaler._private.aws import node_provider, utils
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND

from tests.cluster.filled import VALUES, filled, filled_text

pytestmark = pytest.mark.integration

# Without types in Ray.
bootstrap_aws: Any = ray_aws.bootstrap_aws
AWSNodeProvider: Any = node_provider.AWSNodeProvider


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes a key to ~/.ssh
    with mock_aws():
        utils.resource_cache.cache_clear()
        utils.client_cache.cache_clear()
        yield boto3.client("ec2", region_name=VALUES["NASI_REGION"])
    utils.resource_cache.cache_clear()
    utils.client_cache.cache_clear()


def bootstrapped(ec2: Any) -> tuple[dict[str, Any], str]:
    """What the README's commands and then `ray up` do, up to the first machine."""
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="nasi", Description="nasi", VpcId=vpc)["GroupId"]
    rules = json.loads(filled_text("cluster/security-group.json", NASI_SECURITY_GROUP=group))
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    config = prepare_config(filled("ray-cluster.yaml"))
    for node_type in config["available_node_types"].values():
        node_type["node_config"]["SecurityGroupIds"] = [group]
        node_type["node_config"]["ImageId"] = image
    return bootstrap_aws(config), group


def test_ray_up_opens_nothing_and_makes_no_role(ec2: Any) -> None:
    config, group = bootstrapped(ec2)
    groups = ec2.describe_security_groups()["SecurityGroups"]
    assert "0.0.0.0/0" not in json.dumps([g["IpPermissions"] for g in groups])
    (ours,) = [g for g in groups if g["GroupId"] == group]
    assert [r["CidrIp"] for rule in ours["IpPermissions"] for r in rule["IpRanges"]] == [
        VALUES["NASI_SSH_CIDR"]
    ]
    assert boto3.client("iam").list_roles()["Roles"] == []
    assert not config["head_node"]


def test_rays_own_group_would_be_open_so_that_the_rule_against_it_is_needed(ec2: Any) -> None:
    config = prepare_config(filled("ray-cluster.yaml"))
    for node_type in config["available_node_types"].values():
        del node_type["node_config"]["SecurityGroupIds"]
    bootstrap_aws(config)
    groups = ec2.describe_security_groups()["SecurityGroups"]
    assert "0.0.0.0/0" in json.dumps([g["IpPermissions"] for g in groups])


def test_nodes_are_launched_tagged_spot_and_with_session_tokens(ec2: Any) -> None:
    iam = boto3.client("iam")
    for name in ("nasi-head", "nasi-worker", "nasi-train"):
        iam.create_instance_profile(InstanceProfileName=name)
    config, group = bootstrapped(ec2)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    launch = config["available_node_types"]["gpu_spot"]["node_config"]
    provider.create_node(launch, {TAG_RAY_NODE_KIND: "worker"}, 2)
    reservations = ec2.describe_instances()["Reservations"]
    nodes = [node for r in reservations for node in r["Instances"]]
    assert nodes  # moto launches the least number asked for, which is 1
    for node in nodes:
        assert {"Key": "ray-cluster-name", "Value": "nasi"} in node["Tags"]
        assert node["InstanceLifecycle"] == "spot"
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert [g["GroupId"] for g in node["SecurityGroups"]] == [group]
        assert node["IamInstanceProfile"]["Arn"].endswith("/nasi-worker")
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert provider.non_terminated_nodes({}) == []
