from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from nasi_ray.cluster.rules_kuberay import check_manifest
from tests.cluster.filled import check_told, filled, filled_text

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
    "typo in the head": (
        lambda s: s["headGroupSpec"].update(servicetype="ClusterIP"),
        "headGroupSpec.servicetype: unknown field",
    ),
    "typo in the autoscaler": (
        lambda s: s["autoscalerOptions"].update(idleTimeout=1),
        "autoscalerOptions.idleTimeout: unknown field",
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
    "token off": (
        lambda s: pod(s)["containers"][0]["env"].append(
            {"name": "RAY_AUTH_MODE", "value": "disabled"}
        ),
        "workerGroupSpecs[0].template.spec.containers[0].env[2]: RAY_AUTH_MODE must be token",
    ),
    "token off for the autoscaler": (
        lambda s: s["autoscalerOptions"].update(env=[{"name": "RAY_AUTH_MODE"}]),
        ".autoscalerOptions.env[0]: RAY_AUTH_MODE must be token",
    ),
    "token off in a command": (
        lambda s: pod(s)["containers"][0].update(args=["RAY_AUTH_MODE=disabled ray start"]),
        "containers[0].args[0]: may not touch RAY_AUTH_",
    ),
    "token off before the start": (
        lambda s: pod(s).update(
            initContainers=[{"env": [{"name": "RAY_AUTH_MODE", "value": "disabled"}]}]
        ),
        "initContainers[0].env[0]: RAY_AUTH_MODE must be token",
    ),
    "token in the open": (
        lambda s: pod(s)["containers"][0]["env"].append({"name": "RAY_AUTH_TOKEN", "value": "x"}),
        "containers[0].env[2]: shows the token",
    ),
    "token mode of another kind": (
        lambda s: s["authOptions"].update(modus="x"),
        ".authOptions.modus: unknown field",
    ),
    "privileged": (
        lambda s: pod(s)["containers"][0]["securityContext"].update(privileged=True),
        "containers[0].securityContext: must not have privileged",
    ),
    "a head on the machine's network": (
        lambda s: s["headGroupSpec"]["template"]["spec"].update(hostNetwork=True),
        "headGroupSpec.template.spec.hostNetwork: must",
    ),
    "capabilities": (
        lambda s: pod(s)["containers"][0]["securityContext"].update(
            capabilities={"add": ["SYS_ADMIN"]}
        ),
        "containers[0].securityContext: must not have privileged, added capabilities",
    ),
    "root in a container": (
        lambda s: pod(s)["containers"][0]["securityContext"].update(runAsUser=0),
        "containers[0].securityContext: must not have",
    ),
    "root allowed in a container": (
        lambda s: pod(s)["containers"][0]["securityContext"].update(runAsNonRoot=False),
        "containers[0].securityContext: must not have",
    ),
    "a privileged autoscaler": (
        lambda s: s["autoscalerOptions"]["securityContext"].update(privileged=True),
        ".autoscalerOptions.securityContext: must not have privileged",
    ),
    "an autoscaler by tag": (
        lambda s: s["autoscalerOptions"].update(image="ray:1"),
        ".autoscalerOptions.image: not pinned",
    ),
    "the machine's network": (lambda s: pod(s).update(hostNetwork=True), "spec.hostNetwork: must"),
    "the machine's processes": (lambda s: pod(s).update(hostPID=True), "spec.hostPID: must"),
    "the machine's memory": (lambda s: pod(s).update(hostIPC=True), "spec.hostIPC: must"),
    "the machine's files": (
        lambda s: pod(s).update(volumes=[{"name": "x", "hostPath": {"path": "/"}}]),
        "template.spec.volumes[0].hostPath: shows the machine's files",
    ),
    "a port of the machine": (
        lambda s: pod(s)["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}]),
        "containers[0].ports: hostPort opens",
    ),
    "no container": (lambda s: pod(s).pop("containers"), "template.spec.containers: missing"),
    "a head behind a balancer": (
        lambda s: s["headGroupSpec"].update(headService={"spec": {"type": "NodePort"}}),
        "headGroupSpec.headService.spec: must stay inside",
    ),
    "an ingress": (
        lambda s: s["headGroupSpec"].update(enableIngress=True),
        "headGroupSpec: must stay inside",
    ),
    "a number for a text": (
        lambda s: s["workerGroupSpecs"][0]["rayStartParams"].update({"metrics-export-port": 8080}),
        "rayStartParams.metrics-export-port: must be text",
    ),
    "a number for the head's text": (
        lambda s: s["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        "headGroupSpec.rayStartParams.num-cpus: must be text",
    ),
    "no start parameters": (
        lambda s: s["workerGroupSpecs"][0].pop("rayStartParams"),
        "workerGroupSpecs[0].rayStartParams: must be a mapping",
    ),
    "labels that are none": (
        lambda s: s["headGroupSpec"].update(labels=3),
        "headGroupSpec.labels: must be a mapping",
    ),
    "text for a number": (
        lambda s: s["workerGroupSpecs"][0].update(replicas="0"),
        "workerGroupSpecs[0].replicas: must be a number",
    ),
    "yes for a number": (
        lambda s: s["workerGroupSpecs"][0].update(maxReplicas=True),
        "workerGroupSpecs[0]: minReplicas and maxReplicas",
    ),
    "a group without a name": (
        lambda s: s["workerGroupSpecs"][0].pop("groupName"),
        "workerGroupSpecs[0].groupName: '' must be a name of its own",
    ),
    "two groups of one name": (
        lambda s: s["workerGroupSpecs"][1].update(groupName="gpu-spot"),
        "workerGroupSpecs[1].groupName: 'gpu-spot' must be a name of its own",
    ),
    "workers with the head's account": (
        lambda s: pod(s).update(serviceAccountName="nasi-head"),
        "serviceAccountName: is the head's",
    ),
}


@pytest.mark.parametrize("name", CLUSTER_MUTATIONS)
def test_a_fault_in_a_cluster_is_found_in_the_job_too(name: str) -> None:
    change, message = CLUSTER_MUTATIONS[name]
    cluster, job = filled("cluster/kuberay/raycluster.yaml"), filled("cluster/kuberay/rayjob.yaml")
    for manifest, spec in ((cluster, cluster["spec"]), (job, job["spec"]["rayClusterSpec"])):
        assert check_manifest(manifest) == []
        change(spec)
        check_told(check_manifest(manifest), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shutdownAfterJobFinishes": False}, "must be true: nodes cost money"),
        ({"activeDeadlineSeconds": None}, "spec.activeDeadlineSeconds: missing"),
        ({"ttlSecondsAfterFinish": 1}, "spec.ttlSecondsAfterFinish: unknown field"),
        ({"backoffLimit": "2"}, "spec.backoffLimit: missing"),
        ({"entrypoint": ""}, "spec.entrypoint: missing"),
        (
            {"submitterPodTemplate": {"spec": {"hostNetwork": True}}},
            "spec.submitterPodTemplate.spec.hostNetwork",
        ),
    ],
)
def test_a_fault_in_a_job_is_found(change: Spec, message: str) -> None:
    job = filled("cluster/kuberay/rayjob.yaml")
    job["spec"].update(change)
    assert message in " ".join(str(problem) for problem in check_manifest(job))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"kind": "Service", "spec": {"type": "LoadBalancer"}}, "spec: must stay inside"),
        ({"kind": "Service", "spec": {"type": "NodePort"}}, "spec: must stay inside"),
        ({"kind": "Service", "spec": {"externalIPs": ["192.0.2.1"]}}, "spec: must stay inside"),
        ({"kind": "Ingress"}, "kind: Ingress is not checked here"),
        ({"kind": "RayService"}, "kind: RayService is not checked here"),
        ({"kind": ["Pod"]}, "is not checked here"),
        ({"kind": "NetworkPolicy", "spec": {"from": "0.0.0.0/0"}}, "spec.from: open to"),
        ({"kind": "RayCluster", "apiVersion": "ray.io/v1alpha1"}, "apiVersion: must be ray.io/v1"),
    ],
)
def test_what_stands_beside_a_cluster_is_judged(manifest: Spec, message: str) -> None:
    check_told(check_manifest(manifest), message)


def test_a_service_inside_is_fine() -> None:
    assert check_manifest({"kind": "Service", "spec": {"type": "ClusterIP"}}) == []


def test_the_accounts_that_the_pods_name_are_made() -> None:
    documents = list(yaml.safe_load_all(filled_text("cluster/kuberay/raycluster.yaml")))
    made = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
    spec = documents[-1]["spec"]
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert {p["template"]["spec"]["serviceAccountName"] for p in pods} == made


def test_the_job_runs_a_search_that_its_command_line_accepts() -> None:
    from nasi_ray.search.settings import parse_search

    words = filled("cluster/kuberay/rayjob.yaml")["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "/opt/nasi_ray/jobs/search.py"]
    job = parse_search(words[2:])
    assert job.out == "s3://nasi-123456789012/runs/nasi-search"
    assert job.compute.gpus_per_worker == 1
    assert job.compute.capacity_timeout_s == 1800
