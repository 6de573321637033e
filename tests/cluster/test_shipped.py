"""The shipped files agree with each other and with the code that uses them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from nasi_ray.config import ComputeSettings, labels_of
from nasi_ray.pool.nodes import is_selected
from nasi_ray.search.settings import parse_search
from tests.cluster.filled import VALUES, filled, filled_text

CLUSTER = filled("ray-cluster.yaml")
WORKERS = [t for n, t in CLUSTER["available_node_types"].items() if n != CLUSTER["head_node_type"]]


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = filled(f"cluster/iam/{name}-policy.json")["Statement"]
    return found


@pytest.mark.parametrize(
    ("sid", "profile"), [("LaunchOwnWorkers", "nasi-worker"), ("LaunchOwnTrainers", "nasi-train")]
)
def test_the_head_may_launch_the_types_of_the_cluster_with_their_profiles_only(
    sid: str, profile: str
) -> None:
    by_sid = {statement["Sid"]: statement for statement in statements("head")}
    allowed = by_sid[sid]["Condition"]
    launched = [worker["node_config"] for worker in WORKERS]
    types = {n["InstanceType"] for n in launched if n["IamInstanceProfile"]["Name"] == profile}
    assert set(allowed["StringEquals"]["ec2:InstanceType"]) == types
    assert allowed["ArnEquals"]["ec2:InstanceProfile"].split("/")[-1] == profile
    assert allowed["StringEquals"]["aws:RequestTag/ray-cluster-name"] == CLUSTER["cluster_name"]
    roles = [arn.split("/")[-1] for arn in by_sid["PassWorkersRolesOnly"]["Resource"]]
    assert sorted(roles) == sorted({n["IamInstanceProfile"]["Name"] for n in launched})


def test_only_nodes_that_searches_keep_off_have_the_profile_of_trainings() -> None:
    condition = labels_of(ComputeSettings().label_selector)
    kept_off = [worker for worker in WORKERS if not is_selected(worker["labels"], condition)]
    with_rights = [
        worker
        for worker in WORKERS
        if worker["node_config"]["IamInstanceProfile"]["Name"] == "nasi-train"
    ]
    assert len(with_rights) == 2
    assert with_rights == kept_off


def test_workers_may_pull_the_image_and_nothing_else() -> None:
    actions = " ".join(str(statement["Action"]) for statement in statements("worker"))
    assert set(re.findall("[a-z0-9]+:", actions)) == {"ecr:"}


def test_workers_of_a_training_may_also_touch_the_run_prefix() -> None:
    assert statements("train") == [*statements("run"), *statements("worker")]


def test_who_runs_the_driver_may_touch_the_run_prefix_only() -> None:
    run = statements("run")
    assert [s for s in statements("head") if s in run] == run
    listing, objects = run
    assert objects["Resource"] == f"arn:aws:s3:::{VALUES['NASI_BUCKET']}/runs/*"
    # S3 says 404 only to those who may list the bucket, and that is asked without a prefix.
    assert listing["Condition"] == {"StringLikeIfExists": {"s3:prefix": ["runs", "runs/*"]}}


def test_the_accounts_that_the_pods_name_are_made() -> None:
    documents = list(yaml.safe_load_all(filled_text("cluster/kuberay/raycluster.yaml")))
    made = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
    spec = documents[-1]["spec"]
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert {p["template"]["spec"]["serviceAccountName"] for p in pods} == made


def test_the_autoscaler_finds_its_token_where_ray_looks() -> None:
    from ray.autoscaler._private.kuberay import node_provider

    spec = filled("cluster/kuberay/raycluster.yaml")["spec"]
    (mount,) = spec["autoscalerOptions"]["volumeMounts"]
    (volume,) = spec["headGroupSpec"]["template"]["spec"]["volumes"]
    token, authority = volume["projected"]["sources"]
    assert volume["name"] == mount["name"]
    paths = token["serviceAccountToken"]["path"], authority["configMap"]["items"][0]["path"]
    assert [f"{mount['mountPath']}/{path}" for path in paths] == [
        node_provider.IN_CLUSTER_TOKEN_PATH,
        node_provider.IN_CLUSTER_CA_CERT_PATH,
    ]
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert "volumeMounts" not in head


def test_the_job_runs_a_search_that_its_command_line_accepts() -> None:
    words = filled("cluster/kuberay/rayjob.yaml")["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "/opt/nasi_ray/jobs/search.py"]
    job = parse_search(words[2:])
    assert job.out == "s3://nasi-123456789012/runs/nasi-search"
    assert job.compute.gpus_per_worker == 1
    assert job.compute.capacity_timeout_s == 1800
