"""Rules for ``ray-cluster.yaml``, a cluster on AWS: what it must and must not have.

``check_policy`` looks at the configuration with Ray's defaults merged in: they open the dashboard
and install a nightly wheel where a key is left out. ``check_limits`` looks at it as it was
written, because a default would hide a limit that is missing.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from nasi_ray.cluster.documents import Problem, is_count, is_pinned, mapping, sequence
from nasi_ray.cluster.rules_access import find_open_networks, is_group
from nasi_ray.errors import ConfigError

Config = dict[str, Any]

_MIN_STOP_WAIT_S = 10
_BETWEEN_COMMANDS = re.compile(r"&&|\|\|?|;|&|\n")
_HEAD_START = re.compile(r"(^|\s)--head\b")
_START = re.compile(r"\bray(\.scripts\.scripts)?\s+start\b")
_HOST = re.compile(r"--dashboard-host(?:\s*=\s*|\s+)(\S+)")
_WHEEL = re.compile(r"ray-wheels|\.dev\d|/latest/ray-|\.whl\b")
_PYTHON = re.compile(r"(\S*/)?python[0-9.]*")
_WRAPPERS = ("setsid", "nohup", "exec")
_WATCHER = "nasi_ray.cluster.spot_watcher"
_LONG = {"e": "env", "l": "label", "m": "memory", "v": "volume"}
_WITH_VALUE = frozenset(
    {"cpus", "env", "gpus", "label", "log-driver", "log-opt", "memory", "shm-size"}
    | {"stop-timeout", "tmpfs", "ulimit", "volume"}
)
_FLAGS = frozenset({"init", "read-only"})
_DATA_ROOTS = ("/data/", "/mnt/")
"""Where a machine may have data to share; anything else may hold keys or start programs."""


def node_types(config: Config) -> dict[str, Config]:
    """Name -> node type, only those that are mappings."""
    types = mapping(config, "available_node_types")
    return {name: value for name, value in types.items() if isinstance(value, dict)}


def check_policy(config: Config) -> list[Problem]:
    """Apply the rules on what opens the cluster, or gives its nodes more than they need.

    Args:
        config: As Ray's ``prepare_config`` returns it.
    """
    rules = (
        find_open_networks,
        _security_groups,
        _commands,
        _containers,
        _small_mounts,
        _profiles,
        _metadata_service,
        _pinned_images,
        _encrypted_disks,
        _empty_head,
    )
    return [problem for rule in rules for problem in rule(config)]


def check_limits(config: Config) -> list[Problem]:
    """Apply the rules on what bounds the bill, and on the order of spot and on-demand.

    Args:
        config: As it was written.
    """
    return [*_numbers(config), *_sums(config), *_leftovers(config), *_spot(config)]


def _node_configs(config: Config) -> Iterator[tuple[str, Config]]:
    """Place and content of what EC2 launches, for each node type."""
    for name, node_type in node_types(config).items():
        yield f"available_node_types.{name}.node_config", mapping(node_type, "node_config")


def _security_groups(config: Config) -> Iterator[Problem]:
    if "security_group" in mapping(config, "provider"):
        yield Problem(
            "provider.security_group",
            "Ray adds SSH from 0.0.0.0/0 to every group it makes; make the group yourself "
            "and name it as SecurityGroupIds of each node type",
        )
    for node, content in _node_configs(config):
        place, groups = f"{node}.SecurityGroupIds", sequence(content, "SecurityGroupIds")
        if not groups:
            yield Problem(place, "missing; Ray would make a group open to SSH from 0.0.0.0/0")
        for group in groups:
            if not is_group(group):
                yield Problem(place, f"{group!r} is not sg-<8 to 17 hex digits>")


def _profiles(config: Config) -> Iterator[Problem]:
    head = f"available_node_types.{config.get('head_node_type')}.node_config"
    profiles = {}
    for node, content in _node_configs(config):
        profile = mapping(content, "IamInstanceProfile")
        profiles[node] = profile.get("Name") or profile.get("Arn")
        if not profiles[node]:
            yield Problem(
                f"{node}.IamInstanceProfile",
                "missing; give a profile of its own to the head and one to the workers "
                "(Ray's default for the head has full access to EC2 and S3)",
            )
    for node, name in profiles.items():
        if name and node != head and name == profiles.get(head):
            yield Problem(
                f"{node}.IamInstanceProfile",
                "is the head's, which may launch and end machines; workers need their own",
            )


def _metadata_service(config: Config) -> Iterator[Problem]:
    for node, content in _node_configs(config):
        place, options = f"{node}.MetadataOptions", mapping(content, "MetadataOptions")
        if options.get("HttpTokens") != "required":
            yield Problem(place, "HttpTokens must be required (IMDSv2)")
        if options.get("HttpPutResponseHopLimit") not in (1, 2):
            yield Problem(place, "HttpPutResponseHopLimit must be 1 or 2")
        if options.get("HttpEndpoint", "enabled") != "enabled":
            yield Problem(place, "HttpEndpoint must be enabled: credentials come from there")


def _encrypted_disks(config: Config) -> Iterator[Problem]:
    for node, content in _node_configs(config):
        place, devices = f"{node}.BlockDeviceMappings", sequence(content, "BlockDeviceMappings")
        if not any(mapping(device, "Ebs") for device in devices):
            yield Problem(place, "missing; the disk of the machine image is not encrypted")
        for index, device in enumerate(devices):
            disk = mapping(device, "Ebs")
            if disk and not (disk.get("Encrypted") and disk.get("DeleteOnTermination")):
                message = "Encrypted and DeleteOnTermination must be true"
                yield Problem(f"{place}[{index}]", message)


def _pinned_images(config: Config) -> Iterator[Problem]:
    docker = mapping(config, "docker")
    images = {f"docker.{key}": docker[key] for key in docker if key.endswith("image")}
    if not docker.get("image"):
        images["docker.image"] = ""
    for name, node_type in node_types(config).items():
        image = mapping(node_type, "docker").get("worker_image")
        if image is not None:
            images[f"available_node_types.{name}.docker.worker_image"] = image
    for place, image in images.items():
        if not is_pinned(image):
            message = f"{str(image)!r} is not pinned; give registry/name@sha256:<64 hex digits>"
            yield Problem(place, message)
    for node, content in _node_configs(config):
        if not str(content.get("ImageId", "")).startswith("ami-"):
            yield Problem(f"{node}.ImageId", "missing; Ray's default is an Ubuntu 18.04 image")


def _empty_head(config: Config) -> Iterator[Problem]:
    head = str(config.get("head_node_type"))
    resources = mapping(node_types(config).get(head), "resources")
    for name in ("CPU", "GPU"):
        if resources.get(name) != 0:
            yield Problem(
                f"available_node_types.{head}.resources",
                f"{name} must be 0: work on the head slows down the whole cluster",
            )


def _small_mounts(config: Config) -> Iterator[Problem]:
    for target, source in mapping(config, "file_mounts").items():
        if posixpath.normpath(str(source)) in ("/", "//", "~", ".", "..", "$HOME"):
            yield Problem(
                f"file_mounts.{target}",
                f"copies all of {source} to every node; name a directory of its own",
            )


def _commands(config: Config) -> Iterator[Problem]:
    for place, command in _commands_of(config):
        for message in _command_faults(command, is_of_head=place.startswith("head_start_ray")):
            yield Problem(place, message)
        if _WHEEL.search(command):
            yield Problem(
                place,
                "installs a wheel that is not a release (Ray's default when "
                f"{place.partition('[')[0]} is left out); set it to [], all is in the image",
            )


def _commands_of(config: Config) -> Iterator[tuple[str, str]]:
    """Place and text of each command, those of node types included."""
    levels = {"": config}
    for name, node_type in node_types(config).items():
        levels[f"available_node_types.{name}."] = node_type
    for level, content in levels.items():
        for key in content:
            if key.endswith("_commands"):
                for index, command in enumerate(sequence(content, key)):
                    yield f"{level}{key}[{index}]", str(command)


def _command_faults(command: str, *, is_of_head: bool) -> Iterator[str]:
    if "RAY_AUTH_" in command:
        yield "may not touch RAY_AUTH_...; docker.run_options sets it for all of the container"
    for part in _parts(command):
        hosts = _HOST.findall(part)
        is_start = _HEAD_START.search(part) or (is_of_head and _START.search(part))
        if is_start and not hosts:
            yield "give --dashboard-host=127.0.0.1"
        if len(hosts) > 1:
            yield "gives --dashboard-host more than once"
        for host in hosts:
            if not _is_loopback(host):
                yield (
                    f"--dashboard-host is {host}; it must be 127.0.0.1 (reach it through "
                    "`ray dashboard`)"
                )


def _parts(command: str) -> list[str]:
    return _BETWEEN_COMMANDS.split(command.replace("\\\n", " "))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("\"'[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _runs_watcher(words: list[str]) -> bool:
    """Whether a command is the spot watcher: as a module, by its path, or by ``nasi-ray``."""
    while words and (words[0] in _WRAPPERS or "=" in words[0]):
        words = words[1:]
    if words[:3] == ["nasi-ray", "cluster", "watch-spot"]:
        return True
    if not words or not _PYTHON.fullmatch(words[0]):
        return False
    match [word for word in words[1:] if word == "-m" or not word.startswith("-")]:
        case ["-m", module, *_]:
            return module == _WATCHER
        case [script, *_]:
            return script.rpartition("/")[2] == "spot_watcher.py"
    return False


def _containers(config: Config) -> Iterator[Problem]:
    names_of: dict[str, list[str]] = {}
    for name, node_type in node_types(config).items():
        is_head = name == config.get("head_node_type")
        # As Ray does: a key of the node type replaces the same key of all nodes.
        docker = {**mapping(config, "docker"), **mapping(node_type, "docker")}
        own = sequence(docker, f"{'head' if is_head else 'worker'}_run_options")
        options = sequence(docker, "run_options") + own
        for message in _container_faults(config, options, is_head=is_head):
            names_of.setdefault(message, []).append(name)
    for message, names in names_of.items():
        yield Problem(f"docker.run_options of {', '.join(names)}", message)


def _container_faults(config: Config, options: list[Any], *, is_head: bool) -> Iterator[str]:
    try:
        parsed = _parse_options(options)
    except ConfigError as error:
        yield str(error)
        return
    yield from _volume_faults([value for name, value in parsed if name == "volume"])
    variables = dict(value.split("=", 1) for name, value in parsed if name == "env")
    yield from _token_faults(config, variables)
    wait_s = variables.get("RAY_JOB_STOP_WAIT_TIME_S", "")
    if is_head and not (re.fullmatch("[0-9]{1,6}", wait_s) and int(wait_s) >= _MIN_STOP_WAIT_S):
        yield (
            f"RAY_JOB_STOP_WAIT_TIME_S is {wait_s or 'not set'}; give at least {_MIN_STOP_WAIT_S}, "
            "or `ray job stop` kills a search before it has written"
        )


def _volume_faults(volumes: Sequence[str]) -> Iterator[str]:
    for volume in volumes:
        source = volume.partition(":")[0]
        is_path = not source.replace("_", "").replace("-", "").isalnum()
        if is_path and not f"{posixpath.normpath(source)}/".startswith(_DATA_ROOTS):
            yield f"{source} may hold keys or start programs; keep data below /data or /mnt"


def _token_faults(config: Config, variables: dict[str, str]) -> Iterator[str]:
    if variables.get("RAY_AUTH_MODE") != "token":
        yield "no token is asked for; give --env=RAY_AUTH_MODE=token"
    if "RAY_AUTH_TOKEN" in variables:
        yield (
            "RAY_AUTH_TOKEN shows the token to whoever lists processes; mount a file and name it "
            "in RAY_AUTH_TOKEN_PATH"
        )
    path = variables.get("RAY_AUTH_TOKEN_PATH", "")
    if not any(path.startswith(f"{m.rstrip('/')}/") for m in mapping(config, "file_mounts")):
        yield f"none of file_mounts holds RAY_AUTH_TOKEN_PATH ({path or 'not set'})"


def _parse_options(options: Sequence[object]) -> list[tuple[str, str]]:
    """Split options of ``docker run`` as the shell and Docker do.

    Args:
        options: As in ``run_options``: several may stand in one text, or one in several.

    Returns:
        Name and value of each. An ``env`` without a value takes the machine's: ``NAME=``.

    Raises:
        ConfigError: If one is not among those that a node may need.
    """
    try:
        words = iter(shlex.split(" ".join(str(option) for option in options)))
    except ValueError as error:
        raise ConfigError(f"cannot be split: {error}") from error
    found = []
    for word in words:
        name, value = _split(word)
        if name not in _WITH_VALUE | _FLAGS:
            known = ", ".join(sorted(_WITH_VALUE | _FLAGS))
            raise ConfigError(
                f"{word!r} may give the container rights over the machine; known are {known}"
            )
        if value is None:
            value = "" if name in _FLAGS else next(words, "")
        found.append((name, value if name != "env" or "=" in value else f"{value}="))
    return found


def _split(word: str) -> tuple[str, str | None]:
    if word.startswith("--"):
        name, is_set, value = word[2:].partition("=")
        return name, value if is_set else None
    if word.startswith("-") and word[1:2] in _LONG:
        value = word[2:].removeprefix("=")
        return _LONG[word[1]], value or None
    return word, None


def _worker_types(config: Config) -> dict[str, Config]:
    head = config.get("head_node_type")
    return {name: value for name, value in node_types(config).items() if name != head}


def _numbers(config: Config) -> Iterator[Problem]:
    head = str(config.get("head_node_type"))
    if mapping(node_types(config).get(head)).get("max_workers", 0) != 0:
        yield Problem(
            f"available_node_types.{head}.max_workers",
            "must be 0: a worker of the head's type would have the head's rights",
        )
    for name, node_type in _worker_types(config).items():
        place = f"available_node_types.{name}"
        for key in ("min_workers", "max_workers"):
            if not is_count(node_type.get(key)):
                yield Problem(f"{place}.{key}", "missing; give a number, at least 0")
        idle_s = node_type.get("idle_timeout_s")
        if not isinstance(idle_s, int | float) or not 0 < idle_s <= 3600:
            yield Problem(
                f"{place}.idle_timeout_s",
                "missing or out of range; give the seconds after which an idle node is "
                "ended, at most 3600",
            )


def _sums(config: Config) -> Iterator[Problem]:
    total = config.get("max_workers")
    if not is_count(total):
        yield Problem("max_workers", "missing; give a number, or Ray's default of 2 applies")
        return
    reachable = 0
    for name, node_type in _worker_types(config).items():
        low, high = node_type.get("min_workers", 0), node_type.get("max_workers", 0)
        place = f"available_node_types.{name}.max_workers"
        if not is_count(high):
            continue
        reachable += high
        if is_count(low) and low > high:
            yield Problem(place, f"{high} is below min_workers, {low}")
        if high > total:
            yield Problem(place, f"{high} is above the cluster's max_workers, {total}")
    if reachable < total:
        message = f"{total} cannot be reached: the node types add up to {reachable}"
        yield Problem("max_workers", message)


def _leftovers(config: Config) -> Iterator[Problem]:
    if mapping(config, "provider").get("cache_stopped_nodes") is not False:
        yield Problem(
            "provider.cache_stopped_nodes",
            "must be false: disks of stopped machines still cost money, and `ray down` "
            "leaves them behind",
        )


def _is_spot(node_type: Config) -> bool:
    options = mapping(node_type, "node_config", "InstanceMarketOptions")
    return options.get("MarketType") == "spot"


def _priority(node_type: Config) -> int:
    priority = node_type.get("priority", 0)
    return priority if isinstance(priority, int) else 0


def _spot(config: Config) -> Iterator[Problem]:
    types = _worker_types(config)
    for name, node_type in types.items():
        market = "spot" if _is_spot(node_type) else "on-demand"
        label = mapping(node_type, "labels").get("ray.io/market-type")
        if label != market:
            yield Problem(
                f"available_node_types.{name}.labels",
                f"ray.io/market-type is {label!r} on nodes that are {market}",
            )
    spot = {name: t for name, t in types.items() if _is_spot(t)}
    for name, node_type in spot.items():
        for other, rival in types.items():
            is_twin = rival.get("resources") == node_type.get("resources") and not _is_spot(rival)
            if is_twin and _priority(rival) >= _priority(node_type):
                yield Problem(
                    f"available_node_types.{name}.priority",
                    f"must be above that of {other}, or spot is not tried first",
                )
    commands = sequence(config, "worker_start_ray_commands")
    parts = [part.split() for command in commands for part in _parts(str(command))]
    if spot and not any(map(_runs_watcher, parts)):
        yield Problem(
            "worker_start_ray_commands",
            f"must run `python -m {_WATCHER}`: there are spot nodes, and Ray does not look at "
            "AWS's interruption notices",
        )
