"""What the pods and services of a Kubernetes manifest must and must not have.

They are checked for what matters, not for every field of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.images import is_pinned
from cluster.problems import Problem, mapping, sequence, strings_in

_OF_THE_HOST = ("hostNetwork", "hostPID", "hostIPC")


def check_pod(pod: dict[str, Any], place: str) -> Iterator[Problem]:
    """Judge the ``spec`` of a pod.

    Args:
        pod: The parsed mapping; empty where there is none.
        place: Its path in the file.
    """
    security = mapping(pod, "securityContext")
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield Problem(
            place=f"{place}.securityContext", message="must have runAsNonRoot: true and runAsUser"
        )
    if not pod.get("serviceAccountName"):
        yield Problem(
            place=f"{place}.serviceAccountName", message="missing; only the head's reaches S3"
        )
    for name in _OF_THE_HOST:
        if pod.get(name):
            yield Problem(place=f"{place}.{name}", message="must be left out: it opens the machine")
    for index, volume in enumerate(sequence(pod, "volumes")):
        if "hostPath" in mapping(volume):
            yield Problem(
                place=f"{place}.volumes[{index}].hostPath",
                message="shows the machine's files; use a claim or an emptyDir",
            )
    if not sequence(pod, "containers"):
        yield Problem(place=f"{place}.containers", message="missing")
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(sequence(pod, kind)):
            yield from _check_container(mapping(container), f"{place}.{kind}[{index}]")


def check_service(spec: dict[str, Any], place: str) -> Iterator[Problem]:
    """Judge the ``spec`` of a service: it must be reachable inside Kubernetes only.

    Args:
        spec: The parsed mapping.
        place: Its path in the file.
    """
    if spec.get("type", "ClusterIP") != "ClusterIP" or spec.get("externalIPs"):
        yield Problem(place=place, message="must stay inside: type ClusterIP and no externalIPs")


def check_security_context(content: dict[str, Any], place: str) -> Iterator[Problem]:
    """Judge the ``securityContext`` of a container.

    Args:
        content: The parsed container, or options with the same key.
        place: Its path in the file.
    """
    security = mapping(content, "securityContext")
    if security.get("allowPrivilegeEscalation") is not False:
        yield Problem(
            place=f"{place}.securityContext", message="allowPrivilegeEscalation must be false"
        )
    is_root = security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False
    if security.get("privileged") or sequence(security, "capabilities", "add") or is_root:
        yield Problem(
            place=f"{place}.securityContext",
            message="must not have privileged, added capabilities or root as user",
        )


def check_environment(content: dict[str, Any], place: str) -> Iterator[Problem]:
    """Whether a container leaves Ray's token as ``authOptions`` sets it.

    Args:
        content: The parsed container, or options with the same key.
        place: Its path in the file.
    """
    for index, variable in enumerate(map(mapping, sequence(content, "env"))):
        here, name = f"{place}.env[{index}]", variable.get("name")
        if name == "RAY_AUTH_MODE" and variable.get("value") != "token":
            yield Problem(place=here, message="RAY_AUTH_MODE must be token, or be left out")
        if name == "RAY_AUTH_TOKEN" and "value" in variable:
            yield Problem(place=here, message="shows the token; take it from a Secret (valueFrom)")
    commands = {key: value for key, value in content.items() if key != "env"}
    for here, text in strings_in(commands, place):
        if "RAY_AUTH_" in text:
            yield Problem(place=here, message="may not touch RAY_AUTH_...; authOptions sets it")


def _check_container(container: dict[str, Any], place: str) -> Iterator[Problem]:
    if not is_pinned(container.get("image")):
        yield Problem(place=f"{place}.image", message="not pinned by digest")
    yield from check_security_context(container, place)
    yield from check_environment(container, place)
    if any("hostPort" in mapping(port) for port in sequence(container, "ports")):
        yield Problem(place=f"{place}.ports", message="hostPort opens a port of the machine")
    for kind in ("requests", "limits"):
        if not {"cpu", "memory"} <= set(mapping(container, "resources", kind)):
            yield Problem(place=f"{place}.resources.{kind}", message="give cpu and memory")
