"""Check the KubeRay manifests: field names by hand, and what they must and must not have.

KubeRay's own schema (a CustomResourceDefinition) is no Python package and is not copied here. The
names below are those of its API reference at v1.6.2; anything else is an error. ``cluster.pods``
judges the pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cluster.images import is_pinned
from cluster.networks import find_open_networks
from cluster.pods import (
    check_environment,
    check_pod,
    check_security_context,
    check_service,
)
from cluster.problems import Problem, mapping, sequence

_CLUSTER = frozenset(
    {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "authOptions", "suspend"}
    | {"headGroupSpec", "workerGroupSpecs", "headServiceAnnotations", "managedBy"}
    | {"gcsFaultToleranceOptions", "upgradeStrategy"}
)
_AUTH = frozenset({"mode", "secretName", "enableK8sTokenAuth"})
_AUTOSCALER = frozenset(
    {"version", "upscalingMode", "idleTimeoutSeconds", "resources", "securityContext", "env"}
    | {"envFrom", "image", "imagePullPolicy", "volumeMounts"}
)
_HEAD = frozenset(
    {"serviceType", "headService", "enableIngress", "labels", "resources", "rayStartParams"}
    | {"template"}
)
_WORKERS = frozenset(
    {"groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "labels"}
    | {"resources", "rayStartParams", "template", "numOfHosts", "scaleStrategy", "suspend"}
)
_JOB = frozenset(
    {"entrypoint", "runtimeEnvYAML", "metadata", "jobId", "submissionMode", "backoffLimit"}
    | {"shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "suspend"}
    | {"rayClusterSpec", "submitterPodTemplate", "submitterConfig", "clusterSelector", "managedBy"}
    | {"preRunningDeadlineSeconds", "deletionStrategy", "entrypointNumCpus", "entrypointNumGpus"}
    | {"entrypointResources"}
)
_HARMLESS = frozenset(
    {"ConfigMap", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "ResourceQuota", "Secret"}
    | {"ServiceAccount"}
)
_GROUP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def check_manifest(manifest: dict[str, Any]) -> list[Problem]:
    """Check one Kubernetes object; of kinds that run or open nothing, only the networks.

    Args:
        manifest: The parsed document.
    """
    found = list(find_open_networks(manifest))
    kind, spec = manifest.get("kind"), mapping(manifest, "spec")
    if kind in ("RayCluster", "RayJob") and manifest.get("apiVersion") != "ray.io/v1":
        found.append(Problem(place="apiVersion", message="must be ray.io/v1"))
    if kind == "RayCluster":
        found += _check_cluster(spec, "spec")
    elif kind == "RayJob":
        found += _check_job(spec)
    elif kind == "Service":
        found += check_service(spec, "spec")
    elif str(kind) not in _HARMLESS:
        known = ", ".join(sorted(_HARMLESS | {"RayCluster", "RayJob", "Service"}))
        found.append(Problem(place="kind", message=f"{kind} is not checked here, only {known}"))
    return found


def _unknown(content: dict[str, Any], known: frozenset[str], place: str) -> Iterator[Problem]:
    for name in sorted(set(content) - known):
        yield Problem(
            place=f"{place}.{name}", message=f"unknown field; known are {', '.join(sorted(known))}"
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_job(spec: dict[str, Any]) -> Iterator[Problem]:
    yield from _unknown(spec, _JOB, "spec")
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield Problem(
            place="spec.shutdownAfterJobFinishes", message="must be true: nodes cost money"
        )
    for name in ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"):
        if not _is_count(spec.get(name)):
            yield Problem(place=f"spec.{name}", message="missing; give a number, at least 0")
    if not spec.get("entrypoint"):
        yield Problem(place="spec.entrypoint", message="missing")
    yield from _check_cluster(mapping(spec, "rayClusterSpec"), "spec.rayClusterSpec")
    if "submitterPodTemplate" in spec:
        pod = mapping(spec, "submitterPodTemplate", "spec")
        yield from check_pod(pod, "spec.submitterPodTemplate.spec")


def _check_cluster(spec: dict[str, Any], place: str) -> Iterator[Problem]:
    yield from _unknown(spec, _CLUSTER, place)
    yield from _unknown(mapping(spec, "authOptions"), _AUTH, f"{place}.authOptions")
    if mapping(spec, "authOptions").get("mode") != "token":
        yield Problem(place=f"{place}.authOptions.mode", message="must be token")
    autoscaler = mapping(spec, "autoscalerOptions")
    if autoscaler.get("version") != "v2" or spec.get("enableInTreeAutoscaling") is not True:
        yield Problem(
            place=f"{place}.autoscalerOptions.version",
            message="must be v2, with enableInTreeAutoscaling: true (labels need it)",
        )
    yield from _check_autoscaler(autoscaler, f"{place}.autoscalerOptions")
    head = mapping(spec, "headGroupSpec")
    yield from _check_head(head, f"{place}.headGroupSpec")
    account = mapping(head, "template", "spec").get("serviceAccountName")
    yield from _check_groups(sequence(spec, "workerGroupSpecs"), place, str(account))


def _check_autoscaler(options: dict[str, Any], place: str) -> Iterator[Problem]:
    yield from _unknown(options, _AUTOSCALER, place)
    yield from check_security_context(options, place)
    yield from check_environment(options, place)
    if "image" in options and not is_pinned(options["image"]):
        yield Problem(place=f"{place}.image", message="not pinned by digest")


def _check_head(head: dict[str, Any], place: str) -> Iterator[Problem]:
    yield from _unknown(head, _HEAD, place)
    yield from _check_texts(head, place)
    if mapping(head, "rayStartParams").get("num-cpus") != "0":
        yield Problem(place=f"{place}.rayStartParams.num-cpus", message='must be "0"')
    if head.get("serviceType", "ClusterIP") != "ClusterIP" or head.get("enableIngress"):
        yield Problem(place=place, message="must stay inside: serviceType ClusterIP and no ingress")
    yield from check_service(mapping(head, "headService", "spec"), f"{place}.headService.spec")
    yield from check_pod(mapping(head, "template", "spec"), f"{place}.template.spec")


def _check_texts(group: dict[str, Any], place: str) -> Iterator[Problem]:
    for key in ("rayStartParams", "labels", "resources"):
        texts = group.get(key, {} if key != "rayStartParams" else None)
        if not isinstance(texts, dict):
            yield Problem(place=f"{place}.{key}", message="must be a mapping of texts")
            continue
        for name, value in texts.items():
            if not isinstance(value, str):
                yield Problem(
                    place=f"{place}.{key}.{name}",
                    message=f"must be a text, in quotes (is {value!r})",
                )


def _check_groups(groups: list[Any], place: str, head_account: str) -> Iterator[Problem]:
    names, markets = set(), set()
    for index, group in enumerate(map(mapping, groups)):
        here = f"{place}.workerGroupSpecs[{index}]"
        yield from _unknown(group, _WORKERS, here)
        yield from _check_texts(group, here)
        yield from _check_counts(group, here)
        name = str(group.get("groupName", ""))
        if not _GROUP_NAME.fullmatch(name) or name in names:
            yield Problem(
                place=f"{here}.groupName",
                message=f"{name!r} must be a name of its own: a-z, 0-9, -",
            )
        names.add(name)
        markets.add(str(mapping(group, "labels").get("ray.io/market-type")))
        pod = mapping(group, "template", "spec")
        yield from check_pod(pod, f"{here}.template.spec")
        if pod.get("serviceAccountName") == head_account:
            yield Problem(
                place=f"{here}.template.spec.serviceAccountName",
                message="is the head's, which may change the cluster and reaches S3",
            )
    if not {"spot", "on-demand"} <= markets:
        yield Problem(
            place=f"{place}.workerGroupSpecs",
            message="must have a group labelled ray.io/market-type: spot and one on-demand",
        )


def _check_counts(group: dict[str, Any], place: str) -> Iterator[Problem]:
    low, high = group.get("minReplicas", ""), group.get("maxReplicas", "")
    if not (_is_count(low) and _is_count(high)) or low > high:
        yield Problem(place=place, message="minReplicas and maxReplicas must be given, in order")
    for key in ("replicas", "numOfHosts", "idleTimeoutSeconds"):
        if key in group and not _is_count(group[key]):
            yield Problem(place=f"{place}.{key}", message="must be a number, at least 0")
