from __future__ import annotations

import pytest

from nasi_ray.cluster.parameters import PARAMETERS, fill, resolve
from nasi_ray.errors import ConfigError
from tests.cluster.filled import VALUES


def test_a_flag_goes_before_the_environment_and_that_before_the_default() -> None:
    environ = {"NASI_PREFIX": "of-environment", "NASI_CLUSTER": "other", "NASI_DATA": "/data"}
    values = resolve({"NASI_CLUSTER": "given"}, environ)
    assert values["NASI_CLUSTER"] == "given"
    assert values["NASI_PREFIX"] == "of-environment"
    assert values["NASI_TOKEN_DIR"] == "~/.nasi"
    assert "NASI_REGION" not in values
    assert "NASI_DATA" not in values


def test_only_placeholders_are_replaced() -> None:
    text = "a: ${NASI_REGION} $RAY_HEAD_IP ${aws:username} ${NASI_REGION}"
    filled = fill(text, {"NASI_REGION": "eu-west-1"}, place="x")
    assert filled == "a: eu-west-1 $RAY_HEAD_IP ${aws:username} eu-west-1"


def test_all_missing_values_are_named_with_their_meaning() -> None:
    with pytest.raises(ConfigError, match=r"^x\.yaml: no value for NASI_REGION \(.*us-west-2\)"):
        fill("${NASI_REGION} ${NASI_AMI}", {}, place="x.yaml")
    with pytest.raises(ConfigError, match="NASI_AMI"):
        fill("${NASI_REGION} ${NASI_AMI}", {}, place="x.yaml")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"did you mean NASI_REGION\?"):
        resolve({"NASI_REGON": "us-west-2"}, {})
    with pytest.raises(ConfigError, match=r"unknown placeholder \$\{NASI_BUKET\}.*NASI_BUCKET"):
        fill("${NASI_BUKET}", {}, place="x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NASI_CLUSTER", "Nasi"),
        ("NASI_CLUSTER", "nasi\nprovider: {}"),
        ("NASI_ACCOUNT", "1234"),
        ("NASI_REGION", "us-west-2; rm -rf /"),
        ("NASI_ZONES", "us-west-2a, us-west-2b"),
        ("NASI_AMI", "latest"),
        ("NASI_SECURITY_GROUP", '"]'),
        ("NASI_SSH_CIDR", "0.0.0.0/0"),
        ("NASI_SSH_CIDR", "10.0.0.0/8"),
        ("NASI_SSH_CIDR", "203.0.113.7/24"),
        ("NASI_SSH_CIDR", "::/0"),
        ("NASI_IMAGE", "rayproject/ray:latest"),
        ("NASI_IMAGE", "docker.io/ray@sha256:1234"),
        ("NASI_BUCKET", "s3://bucket"),
        ("NASI_BUCKET", "b*"),
        ("NASI_PREFIX", "/runs"),
        ("NASI_PREFIX", "runs/../.."),
        ("NASI_PREFIX", "*"),
        ("NASI_REGION", "cn-north-1"),
        ("NASI_REGION", "us-gov-west-1"),
        ("NASI_TOKEN_DIR", "secrets and more"),
        ("NASI_TOKEN_DIR", "~/.ssh"),
        ("NASI_TOKEN_DIR", "/home/me/nasi/../.aws"),
        ("NASI_TOKEN_DIR", "nasi"),
        ("NASI_NAMESPACE", "Kube"),
    ],
)
def test_malformed_values_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({name: value}, {})
    assert str(caught.value).startswith(f"{name} is {value!r}")
    assert "\n" not in str(caught.value)


def test_a_region_of_another_partition_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="not of China or GovCloud"):
        resolve({"NASI_REGION": "us-gov-west-1"}, {})


ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com/nasi@sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "NASI_ZONES",
            "us-west-2a,us-east-1a",
            "NASI_ZONES names us-east-1a, which is not in NASI_",
        ),
        ("NASI_ZONES", "us-west-1a", "NASI_ZONES names us-west-1a"),
        (
            "NASI_BUCKET",
            "runs-eu-west-1",
            "NASI_BUCKET is runs-eu-west-1, whose name gives another region than NASI_",
        ),
        (
            "NASI_IMAGE",
            ECR.replace("us-west-2", "eu-west-1"),
            "NASI_IMAGE is in eu-west-1, but NASI_",
        ),
        (
            "NASI_IMAGE",
            ECR.replace("1234", "4321"),
            "NASI_IMAGE is in 432156789012, but NASI_ACCOUNT",
        ),
        (
            "NASI_IMAGE",
            ECR.replace("/nasi", "/other"),
            "NASI_IMAGE is in other, but NASI_CLUSTER is",
        ),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({**VALUES, name: value}, {})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NASI_ZONES", "us-west-2d"),
        ("NASI_BUCKET", "runs-us-west-2"),
        ("NASI_BUCKET", "because-west-10"),
        ("NASI_IMAGE", "ghcr.io/someone/other@sha256:" + "a1" * 32),
        ("NASI_TOKEN_DIR", "/home/me/.config/nasi-token"),
        ("NASI_SSH_CIDR", "10.1.0.0/16"),
    ],
)
def test_values_that_fit_are_taken(name: str, value: str) -> None:
    assert resolve({**VALUES, name: value}, {})[name] == value


def test_the_examples_of_this_folder_are_well_formed() -> None:
    assert set(resolve(VALUES, {})) == set(PARAMETERS)
