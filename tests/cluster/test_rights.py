"""The shipped policies allow what a training asks of S3, and the same in no other place."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from nasi_ray.training.job import run_train
from nasi_ray.training.settings import make_train_job
from tests.cluster.filled import VALUES, filled
from tests.toy import Quiet
from tests.training.trainings import TINY

BUCKET = VALUES["NASI_BUCKET"]
ACTIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
}
"""S3's operations that a training may use -> the right that each needs."""
Asked = tuple[str, str, str | None]
"""A right, the key in the bucket ("" for the bucket), and the prefix that is listed."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[set[Asked]]:
    """What is asked of a simulated S3."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", VALUES["NASI_REGION"])
    monkeypatch.setenv("HOME", str(tmp_path))
    found: set[Asked] = set()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        assert params["Bucket"] == BUCKET
        several = [each["Key"] for each in params.get("Delete", {}).get("Objects", [])]
        for key in several or [params.get("Key", "")]:
            found.add((ACTIONS[model.name], key, params.get("Prefix")))

    with mock_aws():
        client: Any = boto3.client("s3")
        place = {"LocationConstraint": VALUES["NASI_REGION"]}
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        session = boto3.Session()
        session.events.register("before-parameter-build.s3", note)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
        yield found


def is_allowed(statement: dict[str, Any], action: str, key: str, prefix: str | None) -> bool:
    """Whether one statement allows a request, as far as the shipped policies need."""
    actions = statement["Action"]
    if action not in ([actions] if isinstance(actions, str) else actions):
        return False
    arn = f"arn:aws:s3:::{BUCKET}" + (f"/{key}" if key else "")
    if not fnmatchcase(arn, statement["Resource"]):
        return False
    patterns = statement.get("Condition", {}).get("StringLikeIfExists", {}).get("s3:prefix", ["*"])
    return prefix is None or any(fnmatchcase(prefix, pattern) for pattern in patterns)


def refused(policy: str, asked: set[Asked]) -> list[Asked]:
    """What a policy does not allow."""
    statements = filled(f"cluster/iam/{policy}-policy.json")["Statement"]
    return [
        one for one in sorted(asked, key=str) if not any(is_allowed(s, *one) for s in statements)
    ]


def train_at(prefix: str) -> None:
    settings = {**TINY, "checkpoint_steps": 2, "keep_checkpoints": 1}
    run_train(make_train_job({**settings, "out": f"s3://{BUCKET}/{prefix}"}), Quiet())


def test_a_training_asks_no_more_than_its_policies_allow(asked: set[Asked]) -> None:
    train_at("runs/first")
    assert {action for action, *_ in asked} == set(ACTIONS.values())
    for policy in ("train", "head", "run"):
        assert refused(policy, asked) == []
    assert len(refused("worker", asked)) == len(asked)


@pytest.mark.parametrize("prefix", ["others/first", "runs-of-another/first"])
def test_a_training_elsewhere_is_allowed_nothing(asked: set[Asked], prefix: str) -> None:
    train_at(prefix)
    allowed = asked - set(refused("train", asked))
    # A listing without a prefix reads no content; S3 says 404 only to those who may list.
    assert [one for one in allowed if one[1] or one[2] is not None] == []
