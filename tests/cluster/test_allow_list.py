"""How a document is compared with the list of what it may contain, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from nasi_ray.cluster.allow_list import Value, compare, conflicts, kinds_of_documents
from tests.cluster.filled import GONE, filled, problems_after

KUBERNETES = "cluster/kuberay/raycluster.yaml"
POD = "spec.workerGroupSpecs[0].template.spec"


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        (
            "ray-cluster.yaml",
            "provider.key_pair",
            {},
            "provider.key_pair: not an allowed key; allowed: type, region, availability_zone, "
            "cache_stopped_nodes, use_internal_ips. Remove it",
        ),
        (
            "ray-cluster.yaml",
            "provider.cache_stopped_nodes",
            True,
            "provider.cache_stopped_nodes: true is not allowed; give false (disks of stopped "
            "machines still cost money, and `ray down` leaves them behind)",
        ),
        (
            "ray-cluster.yaml",
            "max_workers",
            GONE,
            "max_workers: missing; give <1..64> (it bounds the bill; without it Ray's default of 2 "
            "applies)",
        ),
        (
            "ray-cluster.yaml",
            "docker.run_options[1]",
            GONE,
            "docker.run_options: missing; give --env=RAY_AUTH_MODE=token (another option may give "
            "rights over the machine or show a secret; data lies below /data, /mnt or /cache)",
        ),
        (
            "ray-cluster.yaml",
            "docker.image",
            "nasi:1",
            'docker.image: "nasi:1" is not allowed; give NASI_IMAGE, the container image by '
            "digest, registry/name@sha256:<64 hex digits> (one image and one set of options for "
            "all nodes, without rights over the machine)",
        ),
        (
            "cluster/security-group.json",
            "[0].FromPort",
            8265,
            "[0].FromPort: 8265 is not allowed; give 22",
        ),
        (
            "cluster/security-group.json",
            "[0].IpRanges[0].CidrIp",
            "10.0.0.0/8",
            "[0].IpRanges[0].CidrIp: NASI_SSH_CIDR is '10.0.0.0/8', 16,777,216 addresses; give the "
            "network you connect from, /16 or narrower (the one network you connect from, /16 or "
            "narrower; SSH is all that comes from outside)",
        ),
        (
            KUBERNETES,
            f"{POD}.containers[0].env[+]",
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"},
            f"{POD}.containers[0].env[2]: "
            '{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"} is not allowed; use one of '
            "AWS_DEFAULT_REGION | RAY_USAGE_STATS_ENABLED | RAY_JOB_STOP_WAIT_TIME_S | NASI_DATA | "
            "OMP_NUM_THREADS, or remove it (a variable may hold a secret, or change how Ray and "
            "Python start; authOptions sets the token)",
        ),
    ],
)
def test_a_problem_says_what_is_there_what_may_be_and_why(
    name: str, path: str, value: Any, message: str
) -> None:
    assert problems_after(name, path, value) == [message]


def test_a_value_is_the_same_throughout_a_document() -> None:
    path = "available_node_types.train8.node_config.ImageId"
    assert problems_after("ray-cluster.yaml", path, "ami-00000000") == [
        f"{path}: NASI_AMI is 'ami-00000000' here, but 'ami-0123456789abcdef0' at "
        "available_node_types.head.node_config.ImageId; use the same value in both places"
    ]


def test_values_of_several_files_are_compared_by_name() -> None:
    here, there = Value("NASI_BUCKET", "a", "one"), Value("NASI_BUCKET", "b", "two")
    assert [str(problem) for problem in conflicts([here, here, there])] == [
        "two: NASI_BUCKET is 'b' here, but 'a' at one; use the same value in both places"
    ]
    assert list(conflicts([here, Value("NASI_PREFIX", "b", "two")])) == []


@pytest.mark.parametrize("kind", kinds_of_documents())
@pytest.mark.parametrize("document", [None, 3, "x", [], [3], {}, {"x": [None]}, [[]], {"spec": 1}])
def test_content_of_any_form_is_a_problem(kind: str, document: Any) -> None:
    problems, values = compare(kind, document)
    assert problems
    assert values == []


def test_a_machine_is_asked_only_for_what_the_api_of_aws_has() -> None:
    """The list of a node's keys, against botocore's model of RunInstances."""
    import botocore.session
    from botocore.validate import ParamValidator

    service = botocore.session.get_session().get_service_model("ec2")
    shape: Any = service.operation_model("RunInstances").input_shape
    for node_type in filled("ray-cluster.yaml")["available_node_types"].values():
        call = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(call, shape)
        assert not report.has_errors(), report.generate_report()
