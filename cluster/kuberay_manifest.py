"""Check the KubeRay manifests: field names by hand, and what they must and must not have.

KubeRay's own schema (a CustomResourceDefinition) is no Python package and is not copied here, so
the names below are those of KubeRay 1.5 that the manifests may use; anything else is an error.
Pods are checked for what matters, not for every field of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cluster.problems import Problem, find_open_networks, mapping, sequence

_CLUSTER = frozenset(
    {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "authOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
)
_AUTOSCALER = frozenset(
    {"version", "upscalingMode", "idleTimeoutSeconds", "resources", "securityContext", "env"}
)
_HEAD = frozenset(
    {"serviceType", "enableIngress", "labels", "resources", "rayStartParams", "template"}
)
_WORKERS = frozenset(
    {
        "groupName",
        "replicas",
        "minReplicas",
        "maxReplicas",
        "labels",
        "resources",
        "rayStartParams",
        "template",
    }
)
_JOB = frozenset(
    {
        "entrypoint",
        "runtimeEnvYAML",
        "metadata",
        "jobId",
        "submissionMode",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "activeDeadlineSeconds",
        "backoffLimit",
        "rayClusterSpec",
        "submitterPodTemplate",
        "submitterConfig",
    }
)
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


def check_manifest(manifest: dict[str, Any]) -> list[Problem]:
    """Check one RayCluster or RayJob; other kinds beside them only for open networks.

    Args:
        manifest: The parsed document.
    """
    found = list(find_open_networks(manifest))
    kind, spec = manifest.get("kind"), mapping(manifest, "spec")
    if kind in ("RayCluster", "RayJob") and manifest.get("apiVersion") != "ray.io/v1":
        found.append(Problem(place="apiVersion", message="must be ray.io/v1"))
    if kind == "RayCluster":
        found += _check_cluster(spec, "spec")
    if kind == "RayJob":
        found += _check_job(spec)
    return found


def _unknown(content: dict[str, Any], known: frozenset[str], place: str) -> Iterator[Problem]:
    for name in sorted(set(content) - known):
        yield Problem(
            place=f"{place}.{name}", message=f"unknown field; known are {', '.join(sorted(known))}"
        )


def _check_job(spec: dict[str, Any]) -> Iterator[Problem]:
    yield from _unknown(spec, _JOB, "spec")
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield Problem(
            place="spec.shutdownAfterJobFinishes", message="must be true: nodes cost money"
        )
    for name in ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"):
        value = spec.get(name)
        if not isinstance(value, int) or value < 0:
            yield Problem(place=f"spec.{name}", message="missing; give a number, at least 0")
    if not spec.get("entrypoint"):
        yield Problem(place="spec.entrypoint", message="missing")
    yield from _check_cluster(mapping(spec, "rayClusterSpec"), "spec.rayClusterSpec")
    if "submitterPodTemplate" in spec:
        pod = mapping(spec, "submitterPodTemplate", "spec")
        yield from _check_pod(pod, "spec.submitterPodTemplate.spec")


def _check_cluster(spec: dict[str, Any], place: str) -> Iterator[Problem]:
    yield from _unknown(spec, _CLUSTER, place)
    if mapping(spec, "authOptions").get("mode") != "token":
        yield Problem(place=f"{place}.authOptions.mode", message="must be token")
    autoscaler = mapping(spec, "autoscalerOptions")
    yield from _unknown(autoscaler, _AUTOSCALER, f"{place}.autoscalerOptions")
    if autoscaler.get("version") != "v2" or spec.get("enableInTreeAutoscaling") is not True:
        yield Problem(
            place=f"{place}.autoscalerOptions.version",
            message="must be v2, with enableInTreeAutoscaling: true (labels need it)",
        )
    head = mapping(spec, "headGroupSpec")
    yield from _unknown(head, _HEAD, f"{place}.headGroupSpec")
    if mapping(head, "rayStartParams").get("num-cpus") != "0":
        yield Problem(place=f"{place}.headGroupSpec.rayStartParams.num-cpus", message='must be "0"')
    if head.get("serviceType", "ClusterIP") != "ClusterIP" or head.get("enableIngress"):
        yield Problem(
            place=f"{place}.headGroupSpec",
            message="must stay inside: serviceType ClusterIP and no ingress",
        )
    yield from _check_pod(mapping(head, "template", "spec"), f"{place}.headGroupSpec.template.spec")
    yield from _check_groups(sequence(spec, "workerGroupSpecs"), place)


def _check_groups(groups: list[Any], place: str) -> Iterator[Problem]:
    markets = []
    for index, group in enumerate(groups):
        here = f"{place}.workerGroupSpecs[{index}]"
        yield from _unknown(mapping(group), _WORKERS, here)
        low, high = mapping(group).get("minReplicas"), mapping(group).get("maxReplicas")
        if not isinstance(low, int) or not isinstance(high, int) or not 0 <= low <= high:
            yield Problem(place=here, message="minReplicas and maxReplicas must be given, in order")
        markets.append(mapping(group, "labels").get("ray.io/market-type"))
        yield from _check_pod(mapping(group, "template", "spec"), f"{here}.template.spec")
    if not {"spot", "on-demand"} <= set(markets):
        yield Problem(
            place=f"{place}.workerGroupSpecs",
            message="must have a group labelled ray.io/market-type: spot and one on-demand",
        )


def _check_pod(pod: dict[str, Any], place: str) -> Iterator[Problem]:
    security = mapping(pod, "securityContext")
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield Problem(
            place=f"{place}.securityContext", message="must have runAsNonRoot: true and runAsUser"
        )
    if not pod.get("serviceAccountName"):
        yield Problem(place=f"{place}.serviceAccountName", message="missing; it is what reaches S3")
    containers = sequence(pod, "containers")
    if not containers:
        yield Problem(place=f"{place}.containers", message="missing")
    for index, container in enumerate(containers):
        here = f"{place}.containers[{index}]"
        if not _DIGEST.fullmatch(str(mapping(container).get("image"))):
            yield Problem(place=f"{here}.image", message="not pinned by digest")
        if mapping(container, "securityContext").get("allowPrivilegeEscalation") is not False:
            yield Problem(
                place=f"{here}.securityContext", message="allowPrivilegeEscalation must be false"
            )
        for kind in ("requests", "limits"):
            if not {"cpu", "memory"} <= set(mapping(container, "resources", kind)):
                yield Problem(place=f"{here}.resources.{kind}", message="give cpu and memory")
