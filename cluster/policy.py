"""What a cluster configuration for AWS must and must not have, beside being valid.

Each rule looks at the configuration with Ray's defaults merged in (they are what opens the
dashboard and installs a nightly wheel when a key is left out) and says what is wrong.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from cluster.problems import Problem, find_open_networks, mapping, sequence

Config = dict[str, Any]
Rule = Callable[[Config], Iterator[Problem]]

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_WHEEL = re.compile(r"ray-wheels|\.dev\d|/latest/ray-|\.whl\b")
_MIN_STOP_WAIT_S = 10


def check_policy(config: Config) -> list[Problem]:
    """Apply all rules.

    Args:
        config: As Ray's ``prepare_config`` returns it.
    """
    return [problem for rule in RULES for problem in rule(config)]


def node_types(config: Config) -> dict[str, Config]:
    """Name -> node type, those only that are mappings."""
    types = mapping(config, "available_node_types")
    return {name: value for name, value in types.items() if isinstance(value, dict)}


def worker_types(config: Config) -> dict[str, Config]:
    """As ``node_types``, without the head's."""
    head = config.get("head_node_type")
    return {name: value for name, value in node_types(config).items() if name != head}


def is_spot(node_type: Config) -> bool:
    """Whether nodes of the type are spot instances."""
    options = mapping(node_type, "node_config", "InstanceMarketOptions")
    return options.get("MarketType") == "spot"


def environment(config: Config, kind: str) -> dict[str, str]:
    """The variables the containers of the head or the workers are started with.

    Args:
        config: The configuration.
        kind: ``head`` or ``worker``.
    """
    docker = mapping(config, "docker")
    words = " ".join(
        str(option)
        for key in ("run_options", f"{kind}_run_options")
        for option in sequence(docker, key)
    )
    return dict(re.findall(r"(?:--env|-e)[ =]([A-Za-z_][A-Za-z0-9_]*)=(\S*)", words))


def _no_group_of_rays(config: Config) -> Iterator[Problem]:
    if "security_group" in mapping(config, "provider"):
        yield Problem(
            place="provider.security_group",
            message="Ray adds SSH from 0.0.0.0/0 to every group it makes; make the group yourself "
            "and name it as SecurityGroupIds of each node type",
        )
    for name, node_type in node_types(config).items():
        if not sequence(node_type, "node_config", "SecurityGroupIds"):
            yield Problem(
                place=f"available_node_types.{name}.node_config.SecurityGroupIds",
                message="missing; Ray would make a group that is open to SSH from 0.0.0.0/0",
            )


def _private_dashboard(config: Config) -> Iterator[Problem]:
    for index, command in enumerate(sequence(config, "head_start_ray_commands")):
        place = f"head_start_ray_commands[{index}]"
        if "ray start" not in str(command):
            continue
        host = re.search(r"--dashboard-host[ =](\S+)", str(command))
        if host is None:
            yield Problem(place=place, message="give --dashboard-host=127.0.0.1")
        elif not _is_loopback(host[1]):
            yield Problem(
                place=place,
                message=f"--dashboard-host is {host[1]}; it must be 127.0.0.1 (reach it through "
                "`ray dashboard`)",
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("\"'[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _token(config: Config) -> Iterator[Problem]:
    mounts = mapping(config, "file_mounts")
    for kind in ("head", "worker"):
        variables = environment(config, kind)
        if variables.get("RAY_AUTH_MODE") != "token":
            yield Problem(
                place="docker.run_options",
                message=f"no token is asked for on the {kind}; give --env=RAY_AUTH_MODE=token",
            )
        if "RAY_AUTH_TOKEN" in variables:
            yield Problem(
                place="docker.run_options",
                message="RAY_AUTH_TOKEN shows the token to whoever lists processes; mount a file "
                "and name it in RAY_AUTH_TOKEN_PATH",
            )
        path = variables.get("RAY_AUTH_TOKEN_PATH", "")
        if not any(path.startswith(f"{mount.rstrip('/')}/") for mount in mounts):
            yield Problem(
                place="file_mounts",
                message=f"none holds the {kind}'s RAY_AUTH_TOKEN_PATH ({path or 'not set'})",
            )


def _profiles(config: Config) -> Iterator[Problem]:
    head = config.get("head_node_type")
    profiles: dict[str, str] = {}
    for name, node_type in node_types(config).items():
        profile = mapping(node_type, "node_config", "IamInstanceProfile")
        profiles[name] = str(profile.get("Name") or profile.get("Arn") or "")
        if not profiles[name]:
            yield Problem(
                place=f"available_node_types.{name}.node_config.IamInstanceProfile",
                message="missing; give a profile of its own to the head and one to the workers "
                "(Ray's default for the head has full access to EC2 and S3)",
            )
    for name, profile_name in profiles.items():
        if profile_name and name != head and profile_name == profiles.get(str(head)):
            yield Problem(
                place=f"available_node_types.{name}.node_config.IamInstanceProfile",
                message="is the head's, which may launch and end machines; workers need their own",
            )


def _metadata_service(config: Config) -> Iterator[Problem]:
    for name, node_type in node_types(config).items():
        place = f"available_node_types.{name}.node_config.MetadataOptions"
        options = mapping(node_type, "node_config", "MetadataOptions")
        if options.get("HttpTokens") != "required":
            yield Problem(place=place, message="HttpTokens must be required (IMDSv2)")
        if options.get("HttpPutResponseHopLimit") not in (1, 2):
            yield Problem(place=place, message="HttpPutResponseHopLimit must be 1 or 2")
        if options.get("HttpEndpoint", "enabled") != "enabled":
            yield Problem(
                place=place, message="HttpEndpoint must be enabled: credentials come from there"
            )


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
        if not _DIGEST.fullmatch(str(image)):
            yield Problem(
                place=place,
                message=f"{str(image)!r} is not pinned; give registry/name@sha256:<64 hex digits>",
            )
    for name, node_type in node_types(config).items():
        if not str(mapping(node_type, "node_config").get("ImageId", "")).startswith("ami-"):
            yield Problem(
                place=f"available_node_types.{name}.node_config.ImageId",
                message="missing; Ray's default is an Ubuntu 18.04 image",
            )


def _no_wheels(config: Config) -> Iterator[Problem]:
    keys = [key for key in config if key.endswith("_commands")]
    for key in keys:
        for index, command in enumerate(sequence(config, key)):
            if _WHEEL.search(str(command)):
                yield Problem(
                    place=f"{key}[{index}]",
                    message="installs a wheel that is no release (Ray's default when "
                    f"{key} is left out); set it to [], all is in the image",
                )


def _unprivileged(config: Config) -> Iterator[Problem]:
    docker = mapping(config, "docker")
    for key in ("run_options", "head_run_options", "worker_run_options"):
        for index, option in enumerate(sequence(docker, key)):
            if re.search(r"--privileged|docker\.sock|--user[= ](root|0)\b", str(option)):
                yield Problem(
                    place=f"docker.{key}[{index}]", message=f"{option!r} makes the container root"
                )


def _encrypted_disks(config: Config) -> Iterator[Problem]:
    for name, node_type in node_types(config).items():
        devices = sequence(node_type, "node_config", "BlockDeviceMappings")
        for index, device in enumerate(devices):
            disk = mapping(device, "Ebs")
            if disk and not (disk.get("Encrypted") and disk.get("DeleteOnTermination")):
                yield Problem(
                    place=f"available_node_types.{name}.node_config.BlockDeviceMappings[{index}]",
                    message="Encrypted and DeleteOnTermination must be true",
                )


def _empty_head(config: Config) -> Iterator[Problem]:
    head = str(config.get("head_node_type"))
    resources = mapping(node_types(config).get(head), "resources")
    for name in ("CPU", "GPU"):
        if resources.get(name) != 0:
            yield Problem(
                place=f"available_node_types.{head}.resources",
                message=f"{name} must be 0: work on the head slows down all the cluster",
            )


def _stop_wait(config: Config) -> Iterator[Problem]:
    text = environment(config, "head").get("RAY_JOB_STOP_WAIT_TIME_S", "")
    if not text.isdigit() or int(text) < _MIN_STOP_WAIT_S:
        yield Problem(
            place="docker.run_options",
            message=f"RAY_JOB_STOP_WAIT_TIME_S is {text or 'not set'}; give at least "
            f"{_MIN_STOP_WAIT_S}, or `ray job stop` kills a search before it has written",
        )


RULES: tuple[Rule, ...] = (
    find_open_networks,
    _no_group_of_rays,
    _private_dashboard,
    _token,
    _profiles,
    _metadata_service,
    _pinned_images,
    _no_wheels,
    _unprivileged,
    _encrypted_disks,
    _empty_head,
    _stop_wait,
)
