"""What must fit together in a file whose parts ``allowed.yaml`` allows one by one.

The functions here take only such files, and so look keys up without asking whether they are there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from nasi_ray.cluster.documents import Problem

Content = dict[str, Any]

_ONE_GPU = dict.fromkeys((1, 2, 4, 8, 16), 1)
_MANY_GPUS = {**_ONE_GPU, 12: 4, 24: 4, 48: 8}
_GPU_FAMILIES: dict[str, tuple[str, dict[int, int]]] = {
    "g4dn": ("T4", {**_ONE_GPU, 12: 4}),
    "g5": ("A10G", _MANY_GPUS),
    "g6": ("L4", _MANY_GPUS),
    "g6e": ("L40S", _MANY_GPUS),
    "p4d": ("A100", {24: 8}),
    "p4de": ("A100", {24: 8}),
    "p5": ("H100", {4: 1, 48: 8}),
    "p5en": ("H200", {48: 8}),
}
"""AWS's family of machines -> its GPU in Ray's spelling, and size (12 for 12xlarge) -> GPUs."""
_USE = "nasi-ray/use"
_CPU_FAMILY = re.compile("[cmr](5|6i|6a|7i|7a)")
_TYPE = re.compile(r"(?P<family>[a-z0-9-]+)\.(?P<size>[0-9]*)xlarge")


class Machine(NamedTuple):
    """What a machine of AWS has."""

    cpus: int
    gpus: int
    gpu: str | None
    """The GPU's name as Ray and its labels spell it."""


def find_machine(instance_type: str) -> Machine | None:
    """What a type of machine has; None if it is unknown, or not x86, for which the image is built.

    Args:
        instance_type: AWS's name, such as ``g5.2xlarge``.
    """
    match = _TYPE.fullmatch(instance_type)
    if match is None:
        return None
    family, size = match["family"], int(match["size"] or 1)
    if _CPU_FAMILY.fullmatch(family):
        return Machine(4 * size, 0, None)
    gpu, counts = _GPU_FAMILIES.get(family, ("", {}))
    return Machine(4 * size, counts[size], gpu) if size in counts else None


def check_cluster(config: Content) -> Iterator[Problem]:
    """Check that the numbers and machines of a cluster configuration fit each other.

    Args:
        config: A document of which ``allow_list.compare`` finds no problems.
    """
    types = {n: t for n, t in config["available_node_types"].items() if n != "head"}
    total, reachable = config["max_workers"], sum(t["max_workers"] for t in types.values())
    if reachable < total:
        message = (
            f"{total} is more than the {reachable} workers of all node types together; lower it, "
            "or raise theirs"
        )
        yield Problem("max_workers", message)
    for name, node in types.items():
        place = f"available_node_types.{name}"
        if node["max_workers"] > total:
            message = (
                f"{node['max_workers']} is above the cluster's max_workers, {total}; lower it, or "
                "raise that"
            )
            yield Problem(f"{place}.max_workers", message)
        launched, resources = node["node_config"], node["resources"]
        market = "spot" if "InstanceMarketOptions" in launched else "on-demand"
        yield from _check_market(node["labels"], market, place)
        yield from _check_profile(node, place)
        amounts = (resources["CPU"], resources.get("GPU", 0))
        yield from _check_machine(launched["InstanceType"], amounts, node["labels"], place)
        for other, rival in types.items():
            is_twin = rival["resources"] == resources and market == "spot"
            is_on_demand = "InstanceMarketOptions" not in rival["node_config"]
            if is_twin and is_on_demand and rival.get("priority", 0) >= node.get("priority", 0):
                message = f"must be above that of {other}, or spot is not tried first"
                yield Problem(f"{place}.priority", message)


def check_ray_cluster(spec: Content, place: str) -> Iterator[Problem]:
    """Check that the groups of a RayCluster fit each other and their machines.

    Args:
        spec: Of a document of which ``allow_list.compare`` finds no problems.
        place: Where it is.
    """
    groups = spec["workerGroupSpecs"]
    markets = {group["labels"]["ray.io/market-type"] for group in groups}
    if markets != {"spot", "on-demand"}:
        message = "must have a group labelled ray.io/market-type: spot and one on-demand"
        yield Problem(f"{place}.workerGroupSpecs", message)
    for name, count in Counter(group["groupName"] for group in groups).items():
        if count > 1:
            message = f"{count} groups are named {name}; give each its own name"
            yield Problem(f"{place}.workerGroupSpecs", message)
    for index, group in enumerate(groups):
        here, pod = f"{place}.workerGroupSpecs[{index}]", group["template"]["spec"]
        amounts = pod["containers"][0]["resources"]
        if amounts["requests"] != amounts["limits"]:
            message = "requests and limits must be the same: Ray schedules by the limits"
            yield Problem(f"{here}.template.spec.containers[0].resources", message)
        if selector := pod.get("nodeSelector"):
            market = selector["karpenter.sh/capacity-type"]
            yield from _check_market(group["labels"], market, here)
            limits = amounts["limits"]
            asked = (_cores(limits["cpu"]), int(limits.get("nvidia.com/gpu", 0)))
            machine = selector["node.kubernetes.io/instance-type"]
            yield from _check_machine(machine, asked, group["labels"], here)


def check_company(documents: list[Any]) -> Iterator[Problem]:
    """Check that a Ray cluster on Kubernetes comes with the policies for its pods.

    Args:
        documents: Of one file, each of them without problems.
    """
    manifests = [d for d in documents if isinstance(d, dict) and "apiVersion" in d]
    kinds = {manifest["kind"] for manifest in manifests}
    selected = [m["spec"]["podSelector"] for m in manifests if m["kind"] == "NetworkPolicy"]
    for manifest in manifests:
        if manifest["kind"] not in ("RayCluster", "RayJob"):
            continue
        head = manifest["spec"].get("rayClusterSpec", manifest["spec"])["headGroupSpec"]
        if {"matchLabels": head["template"]["metadata"]["labels"]} not in selected:
            yield Problem("file", "no NetworkPolicy selects the pods by their label; add it")
        if manifest["kind"] == "RayCluster" and ("Namespace" not in kinds or {} not in selected):
            message = "the Namespace, or its NetworkPolicy for all other pods, is missing; add it"
            yield Problem("file", message)


def _cores(quantity: str) -> float:
    """Kubernetes' cores: "7" or "500m"."""
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else int(quantity)


def _check_market(labels: Content, market: str, place: str) -> Iterator[Problem]:
    label = labels["ray.io/market-type"]
    if label != market:
        message = f"ray.io/market-type is {label!r} on nodes that are {market}"
        yield Problem(f"{place}.labels", message)


def _check_profile(node: Content, place: str) -> Iterator[Problem]:
    """Whether the nodes that searches keep off, and no others, have rights on the runs."""
    profile = node["node_config"]["IamInstanceProfile"]["Name"]
    is_labelled = node["labels"].get(_USE) == "training"
    if profile.endswith("-train") and not is_labelled:
        message = (
            f"{profile} may change all runs, and searches run on these nodes; give the profile of "
            f"workers, or the label {_USE}: training"
        )
        yield Problem(f"{place}.node_config.IamInstanceProfile.Name", message)
    elif is_labelled and not profile.endswith("-train"):
        message = (
            f"{profile} has no right on S3, where trainings write checkpoints; give the profile "
            f"of trainings, or another label than {_USE}: training"
        )
        yield Problem(f"{place}.node_config.IamInstanceProfile.Name", message)


def _check_machine(
    name: str, asked: tuple[float, int], labels: Content, place: str
) -> Iterator[Problem]:
    """Whether a machine has the cores and GPUs that are asked of it."""
    machine = find_machine(name)
    if machine is None:
        families = ", ".join(_GPU_FAMILIES)
        yield Problem(
            place,
            f"{name} is not among the x86 machines known here: {families}, and c, m and r of "
            "generations 5 to 7 (the image is not built for ARM)",
        )
        return
    cores, gpus = asked
    if cores > machine.cpus:
        yield Problem(place, f"{name} has {machine.cpus} cores, not {cores}")
    if gpus != machine.gpus:
        message = f"{name} has {machine.gpus} GPUs, not {gpus}; give as many as it has"
        yield Problem(place, message)
    label = labels.get("ray.io/accelerator-type", machine.gpu)
    if label != machine.gpu:
        message = f"ray.io/accelerator-type is {label!r}, but {name} has {machine.gpu or 'no GPU'}"
        yield Problem(f"{place}.labels", message)
