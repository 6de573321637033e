from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from cluster.kuberay_manifest import check_manifest
from tests.cluster.filled import filled, filled_text

Spec = dict[str, Any]


def pod(spec: Spec) -> Spec:
    found: Spec = spec["workerGroupSpecs"][0]["template"]["spec"]
    return found


CLUSTER_MUTATIONS: dict[str, tuple[Callable[[Spec], object], str]] = {
    "typo": (lambda s: s.update(workerGroupSpec=[]), ".workerGroupSpec: unknown field"),
    "typo in a group": (
        lambda s: s["workerGroupSpecs"][0].update(maxReplica=1),
        "workerGroupSpecs[0].maxReplica: unknown field",
    ),
    "no token": (lambda s: s.pop("authOptions"), ".authOptions.mode: must be token"),
    "autoscaler v1": (
        lambda s: s["autoscalerOptions"].update(version="v1"),
        "autoscalerOptions.version: must be v2",
    ),
    "work on the head": (
        lambda s: s["headGroupSpec"]["rayStartParams"].pop("num-cpus"),
        "rayStartParams.num-cpus",
    ),
    "a head for all the world": (
        lambda s: s["headGroupSpec"].update(serviceType="LoadBalancer"),
        "headGroupSpec: must stay inside",
    ),
    "no spot group": (
        lambda s: s["workerGroupSpecs"].pop(0),
        "must have a group labelled ray.io/market-type: spot",
    ),
    "limits the wrong way": (
        lambda s: s["workerGroupSpecs"][0].update(minReplicas=17),
        "minReplicas and maxReplicas",
    ),
    "root": (lambda s: pod(s).pop("securityContext"), "securityContext: must have runAsNonRoot"),
    "no account": (lambda s: pod(s).pop("serviceAccountName"), "serviceAccountName: missing"),
    "an image by tag": (
        lambda s: pod(s)["containers"][0].update(image="ray:1"),
        "containers[0].image: not pinned",
    ),
    "no limits": (
        lambda s: pod(s)["containers"][0]["resources"].pop("limits"),
        "containers[0].resources.limits: give cpu and memory",
    ),
    "more rights": (
        lambda s: pod(s)["containers"][0].pop("securityContext"),
        "allowPrivilegeEscalation must be false",
    ),
}


@pytest.mark.parametrize("name", CLUSTER_MUTATIONS)
def test_a_fault_in_a_cluster_is_found_in_the_job_too(name: str) -> None:
    change, message = CLUSTER_MUTATIONS[name]
    cluster, job = filled("cluster/kuberay/raycluster.yaml"), filled("cluster/kuberay/rayjob.yaml")
    for manifest, spec in ((cluster, cluster["spec"]), (job, job["spec"]["rayClusterSpec"])):
        assert check_manifest(manifest) == []
        change(spec)
        problems = [str(problem) for problem in check_manifest(manifest)]
        assert any(message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shutdownAfterJobFinishes": False}, "must be true: nodes cost money"),
        ({"activeDeadlineSeconds": None}, "spec.activeDeadlineSeconds: missing"),
        ({"ttlSecondsAfterFinish": 1}, "spec.ttlSecondsAfterFinish: unknown field"),
        ({"backoffLimit": "2"}, "spec.backoffLimit: missing"),
        ({"entrypoint": ""}, "spec.entrypoint: missing"),
    ],
)
def test_a_fault_in_a_job_is_found(change: Spec, message: str) -> None:
    job = filled("cluster/kuberay/rayjob.yaml")
    job["spec"].update(change)
    assert message in " ".join(str(problem) for problem in check_manifest(job))


def test_the_accounts_that_the_pods_name_are_made() -> None:
    documents = list(yaml.safe_load_all(filled_text("cluster/kuberay/raycluster.yaml")))
    made = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
    spec = documents[-1]["spec"]
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert {p["template"]["spec"]["serviceAccountName"] for p in pods} == made


def test_the_job_runs_a_search_that_its_command_line_accepts() -> None:
    from nasi_ray.launch.command_line import parse_search

    words = filled("cluster/kuberay/rayjob.yaml")["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "/opt/nasi_ray/jobs/search.py"]
    job = parse_search(words[2:])
    assert job.out == "s3://nasi-123456789012/runs/nasi-search"
    assert job.workers.gpus_per_worker == 1
    assert job.workers.capacity_timeout_s == 1800
