"""How many nodes may be launched, for how long, and of which kind first."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.commands import starts_watcher
from cluster.policy import Config, is_spot, node_types, worker_types
from cluster.problems import Problem, mapping


def check_limits(config: Config) -> list[Problem]:
    """Numbers that bound the bill, and the order of spot and on-demand.

    Args:
        config: As the user wrote it: Ray's defaults would hide a limit that is missing.
    """
    return [*_numbers(config), *_sums(config), *_leftovers(config), *_spot(config)]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers(config: Config) -> Iterator[Problem]:
    head = str(config.get("head_node_type"))
    if mapping(node_types(config).get(head)).get("max_workers", 0) != 0:
        yield Problem(
            place=f"available_node_types.{head}.max_workers",
            message="must be 0: a worker of the head's type would have the head's rights",
        )
    for name, node_type in worker_types(config).items():
        place = f"available_node_types.{name}"
        for key in ("min_workers", "max_workers"):
            if not _is_count(node_type.get(key)):
                yield Problem(place=f"{place}.{key}", message="missing; give a number, at least 0")
        idle_s = node_type.get("idle_timeout_s")
        if not isinstance(idle_s, int | float) or not 0 < idle_s <= 3600:
            yield Problem(
                place=f"{place}.idle_timeout_s",
                message="missing or out of range; give the seconds after which an idle node is "
                "ended, at most 3600",
            )


def _sums(config: Config) -> Iterator[Problem]:
    total = config.get("max_workers")
    if not _is_count(total):
        yield Problem(place="max_workers", message="missing; Ray's default of 2 is not meant")
        return
    types = worker_types(config)
    for name, node_type in types.items():
        low, high = node_type.get("min_workers", 0), node_type.get("max_workers", 0)
        place = f"available_node_types.{name}.max_workers"
        if _is_count(low) and _is_count(high) and low > high:
            yield Problem(place=place, message=f"{high} is below min_workers, {low}")
        if _is_count(high) and high > total:
            yield Problem(
                place=place, message=f"{high} is above the cluster's max_workers, {total}"
            )
    highs = [node_type.get("max_workers", 0) for node_type in types.values()]
    reachable = sum(high for high in highs if _is_count(high))
    if reachable < total:
        yield Problem(
            place="max_workers",
            message=f"{total} cannot be reached: the node types add up to {reachable}",
        )


def _leftovers(config: Config) -> Iterator[Problem]:
    if mapping(config, "provider").get("cache_stopped_nodes") is not False:
        yield Problem(
            place="provider.cache_stopped_nodes",
            message="must be false: stopped machines go on costing their disks, and `ray down` "
            "leaves them behind",
        )


def _priority(node_type: Config) -> int:
    priority = node_type.get("priority", 0)
    return priority if isinstance(priority, int) else 0


def _spot(config: Config) -> Iterator[Problem]:
    types = worker_types(config)
    for name, node_type in types.items():
        market = "spot" if is_spot(node_type) else "on-demand"
        label = mapping(node_type, "labels").get("ray.io/market-type")
        if label != market:
            yield Problem(
                place=f"available_node_types.{name}.labels",
                message=f"ray.io/market-type is {label!r} on nodes that are {market}",
            )
    spot = {name: t for name, t in types.items() if is_spot(t)}
    for name, node_type in spot.items():
        for other, rival in types.items():
            is_twin = rival.get("resources") == node_type.get("resources") and not is_spot(rival)
            if is_twin and _priority(rival) >= _priority(node_type):
                yield Problem(
                    place=f"available_node_types.{name}.priority",
                    message=f"must be above that of {other}, or spot is not tried first",
                )
    if spot and not starts_watcher(config):
        yield Problem(
            place="worker_start_ray_commands",
            message="must run cluster/spot_watcher.py: there are spot nodes, and Ray does not "
            "look at AWS's interruption notices",
        )
