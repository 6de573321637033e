"""Rules for the KubeRay manifests: known field names, and what pods and services may do.

KubeRay's own schema (a CustomResourceDefinition) is not on the package index and not copied here.
The field names below are those of its API reference at v1.6.2; any other name is an error. Pods
and services are checked for what matters, not for every field of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from nasi_ray.cluster.documents import Problem, is_count, is_pinned, mapping, sequence, strings_in
from nasi_ray.cluster.rules_access import find_open_networks

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
_OF_THE_HOST = ("hostNetwork", "hostPID", "hostIPC")
_GROUP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def check_manifest(manifest: dict[str, Any]) -> list[Problem]:
    """Check one Kubernetes object; of kinds that run or open nothing, only the networks.

    Args:
        manifest: The parsed document.
    """
    found = list(find_open_networks(manifest))
    kind, spec = manifest.get("kind"), mapping(manifest, "spec")
    if kind in ("RayCluster", "RayJob") and manifest.get("apiVersion") != "ray.io/v1":
        found.append(Problem("apiVersion", "must be ray.io/v1"))
    if kind == "RayCluster":
        found += _check_cluster(spec, "spec")
    elif kind == "RayJob":
        found += _check_job(spec)
    elif kind == "Service":
        found += _check_service(spec, "spec")
    elif str(kind) not in _HARMLESS:
        known = ", ".join(sorted(_HARMLESS | {"RayCluster", "RayJob", "Service"}))
        found.append(Problem("kind", f"{kind} is not checked here, only {known}"))
    return found


def _unknown(content: dict[str, Any], known: frozenset[str], place: str) -> Iterator[Problem]:
    for name in sorted(set(content) - known):
        yield Problem(f"{place}.{name}", f"unknown field; known are {', '.join(sorted(known))}")


def _check_job(spec: dict[str, Any]) -> Iterator[Problem]:
    yield from _unknown(spec, _JOB, "spec")
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield Problem("spec.shutdownAfterJobFinishes", "must be true: nodes cost money")
    for name in ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"):
        if not is_count(spec.get(name)):
            yield Problem(f"spec.{name}", "missing; give a number, at least 0")
    if not spec.get("entrypoint"):
        yield Problem("spec.entrypoint", "missing")
    yield from _check_cluster(mapping(spec, "rayClusterSpec"), "spec.rayClusterSpec")
    if "submitterPodTemplate" in spec:
        pod = mapping(spec, "submitterPodTemplate", "spec")
        yield from _check_pod(pod, "spec.submitterPodTemplate.spec")


def _check_cluster(spec: dict[str, Any], place: str) -> Iterator[Problem]:
    yield from _unknown(spec, _CLUSTER, place)
    yield from _unknown(mapping(spec, "authOptions"), _AUTH, f"{place}.authOptions")
    if mapping(spec, "authOptions").get("mode") != "token":
        yield Problem(f"{place}.authOptions.mode", "must be token")
    autoscaler = mapping(spec, "autoscalerOptions")
    if autoscaler.get("version") != "v2" or spec.get("enableInTreeAutoscaling") is not True:
        yield Problem(
            f"{place}.autoscalerOptions.version",
            "must be v2, with enableInTreeAutoscaling: true (labels need it)",
        )
    yield from _check_autoscaler(autoscaler, f"{place}.autoscalerOptions")
    head = mapping(spec, "headGroupSpec")
    yield from _check_head(head, f"{place}.headGroupSpec")
    account = mapping(head, "template", "spec").get("serviceAccountName")
    yield from _check_groups(sequence(spec, "workerGroupSpecs"), place, str(account))


def _check_autoscaler(options: dict[str, Any], place: str) -> Iterator[Problem]:
    yield from _unknown(options, _AUTOSCALER, place)
    yield from _check_security_context(options, place)
    yield from _check_environment(options, place)
    if "image" in options and not is_pinned(options["image"]):
        yield Problem(f"{place}.image", "not pinned by digest")


def _check_head(head: dict[str, Any], place: str) -> Iterator[Problem]:
    yield from _unknown(head, _HEAD, place)
    yield from _check_texts(head, place)
    if mapping(head, "rayStartParams").get("num-cpus") != "0":
        yield Problem(f"{place}.rayStartParams.num-cpus", 'must be "0"')
    if head.get("serviceType", "ClusterIP") != "ClusterIP" or head.get("enableIngress"):
        yield Problem(place, "must stay inside: serviceType ClusterIP and no ingress")
    yield from _check_service(mapping(head, "headService", "spec"), f"{place}.headService.spec")
    yield from _check_pod(mapping(head, "template", "spec"), f"{place}.template.spec")


def _check_texts(group: dict[str, Any], place: str) -> Iterator[Problem]:
    for key in ("rayStartParams", "labels", "resources"):
        texts = group.get(key, {} if key != "rayStartParams" else None)
        if not isinstance(texts, dict):
            yield Problem(f"{place}.{key}", "must be a mapping to text")
            continue
        for name, value in texts.items():
            if not isinstance(value, str):
                yield Problem(f"{place}.{key}.{name}", f"must be text, in quotes (is {value!r})")


def _check_groups(groups: list[Any], place: str, head_account: str) -> Iterator[Problem]:
    names, markets = set(), set()
    for index, group in enumerate(map(mapping, groups)):
        here = f"{place}.workerGroupSpecs[{index}]"
        yield from _unknown(group, _WORKERS, here)
        yield from _check_texts(group, here)
        yield from _check_counts(group, here)
        name = str(group.get("groupName", ""))
        if not _GROUP_NAME.fullmatch(name) or name in names:
            yield Problem(f"{here}.groupName", f"{name!r} must be a name of its own: a-z, 0-9, -")
        names.add(name)
        markets.add(str(mapping(group, "labels").get("ray.io/market-type")))
        pod = mapping(group, "template", "spec")
        yield from _check_pod(pod, f"{here}.template.spec")
        if pod.get("serviceAccountName") == head_account:
            yield Problem(
                f"{here}.template.spec.serviceAccountName",
                "is the head's, which may change the cluster and reaches S3",
            )
    if not {"spot", "on-demand"} <= markets:
        yield Problem(
            f"{place}.workerGroupSpecs",
            "must have a group labelled ray.io/market-type: spot and one on-demand",
        )


def _check_counts(group: dict[str, Any], place: str) -> Iterator[Problem]:
    low, high = group.get("minReplicas", ""), group.get("maxReplicas", "")
    if not (is_count(low) and is_count(high)) or low > high:
        yield Problem(place, "minReplicas and maxReplicas must be given, in order")
    for key in ("replicas", "numOfHosts", "idleTimeoutSeconds"):
        if key in group and not is_count(group[key]):
            yield Problem(f"{place}.{key}", "must be a number, at least 0")


def _check_pod(pod: dict[str, Any], place: str) -> Iterator[Problem]:
    security = mapping(pod, "securityContext")
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield Problem(f"{place}.securityContext", "must have runAsNonRoot: true and runAsUser")
    if not pod.get("serviceAccountName"):
        yield Problem(f"{place}.serviceAccountName", "missing; only the head's reaches S3")
    for name in _OF_THE_HOST:
        if pod.get(name):
            yield Problem(f"{place}.{name}", "must be left out: it opens the machine")
    for index, volume in enumerate(sequence(pod, "volumes")):
        if "hostPath" in mapping(volume):
            yield Problem(
                f"{place}.volumes[{index}].hostPath",
                "shows the machine's files; use a claim or an emptyDir",
            )
    if not sequence(pod, "containers"):
        yield Problem(f"{place}.containers", "missing")
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(sequence(pod, kind)):
            yield from _check_container(mapping(container), f"{place}.{kind}[{index}]")


def _check_service(spec: dict[str, Any], place: str) -> Iterator[Problem]:
    if spec.get("type", "ClusterIP") != "ClusterIP" or spec.get("externalIPs"):
        yield Problem(place, "must stay inside: type ClusterIP and no externalIPs")


def _check_security_context(content: dict[str, Any], place: str) -> Iterator[Problem]:
    security = mapping(content, "securityContext")
    if security.get("allowPrivilegeEscalation") is not False:
        yield Problem(f"{place}.securityContext", "allowPrivilegeEscalation must be false")
    is_root = security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False
    if security.get("privileged") or sequence(security, "capabilities", "add") or is_root:
        yield Problem(
            f"{place}.securityContext",
            "must not have privileged, added capabilities or root as user",
        )


def _check_environment(content: dict[str, Any], place: str) -> Iterator[Problem]:
    for index, variable in enumerate(map(mapping, sequence(content, "env"))):
        here, name = f"{place}.env[{index}]", variable.get("name")
        if name == "RAY_AUTH_MODE" and variable.get("value") != "token":
            yield Problem(here, "RAY_AUTH_MODE must be token, or be left out")
        if name == "RAY_AUTH_TOKEN" and "value" in variable:
            yield Problem(here, "shows the token; take it from a Secret (valueFrom)")
    commands = {key: value for key, value in content.items() if key != "env"}
    for here, text in strings_in(commands, place):
        if "RAY_AUTH_" in text:
            yield Problem(here, "may not touch RAY_AUTH_...; authOptions sets it")


def _check_container(container: dict[str, Any], place: str) -> Iterator[Problem]:
    if not is_pinned(container.get("image")):
        yield Problem(f"{place}.image", "not pinned by digest")
    yield from _check_security_context(container, place)
    yield from _check_environment(container, place)
    if any("hostPort" in mapping(port) for port in sequence(container, "ports")):
        yield Problem(f"{place}.ports", "hostPort opens a port of the machine")
    for kind in ("requests", "limits"):
        if not {"cpu", "memory"} <= set(mapping(container, "resources", kind)):
            yield Problem(f"{place}.resources.{kind}", "give cpu and memory")
