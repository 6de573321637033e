"""What a cluster configuration for AWS must and must not have, beside being valid.

Each rule looks at the configuration with Ray's defaults merged in (they are what opens the
dashboard and installs a nightly wheel when a key is left out) and says what is wrong.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any

from cluster.commands import check_commands
from cluster.docker_options import environment, open_volumes
from cluster.images import is_pinned
from cluster.networks import find_open_networks, is_group
from cluster.problems import Problem, mapping, sequence
from nasi_ray.errors import ConfigError

Config = dict[str, Any]
Rule = Callable[[Config], Iterator[Problem]]

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


def run_options(config: Config) -> dict[str, list[Any]]:
    """Name of a node type -> what its containers are started with, in Docker's order."""
    options = {}
    for name, node_type in node_types(config).items():
        # As Ray does: what a node type says replaces the same key of all.
        docker = {**mapping(config, "docker"), **mapping(node_type, "docker")}
        kind = "head" if name == config.get("head_node_type") else "worker"
        options[name] = sequence(docker, "run_options") + sequence(docker, f"{kind}_run_options")
    return options


def _no_group_of_rays(config: Config) -> Iterator[Problem]:
    if "security_group" in mapping(config, "provider"):
        yield Problem(
            place="provider.security_group",
            message="Ray adds SSH from 0.0.0.0/0 to every group it makes; make the group yourself "
            "and name it as SecurityGroupIds of each node type",
        )
    for name, node_type in node_types(config).items():
        place = f"available_node_types.{name}.node_config.SecurityGroupIds"
        groups = sequence(node_type, "node_config", "SecurityGroupIds")
        if not groups:
            yield Problem(
                place=place,
                message="missing; Ray would make a group that is open to SSH from 0.0.0.0/0",
            )
        for group in groups:
            if not is_group(group):
                yield Problem(place=place, message=f"{group!r} is no sg-<8 to 17 hex digits>")


def _containers(config: Config) -> Iterator[Problem]:
    head = config.get("head_node_type")
    names_of: dict[str, list[str]] = {}
    for name, options in run_options(config).items():
        for message in _container_faults(config, options, is_head=name == head):
            names_of.setdefault(message, []).append(name)
    for message, names in names_of.items():
        yield Problem(place=f"docker.run_options of {', '.join(names)}", message=message)


def _container_faults(config: Config, options: list[Any], *, is_head: bool) -> Iterator[str]:
    try:
        variables = environment(options)
        volumes = list(open_volumes(options))
    except ConfigError as error:
        yield str(error)
        return
    for volume in volumes:
        yield f"{volume} may hold keys or start programs; keep data below /data or /mnt"
    yield from _token_faults(config, variables)
    if is_head:
        yield from _stop_wait(variables)


def _token_faults(config: Config, variables: dict[str, str]) -> Iterator[str]:
    if variables.get("RAY_AUTH_MODE") != "token":
        yield "no token is asked for; give --env=RAY_AUTH_MODE=token"
    if "RAY_AUTH_TOKEN" in variables:
        yield (
            "RAY_AUTH_TOKEN shows the token to whoever lists processes; mount a file and name it "
            "in RAY_AUTH_TOKEN_PATH"
        )
    path = variables.get("RAY_AUTH_TOKEN_PATH", "")
    mounts = mapping(config, "file_mounts")
    if not any(path.startswith(f"{mount.rstrip('/')}/") for mount in mounts):
        yield f"none of file_mounts holds RAY_AUTH_TOKEN_PATH ({path or 'not set'})"


def _stop_wait(variables: dict[str, str]) -> Iterator[str]:
    text = variables.get("RAY_JOB_STOP_WAIT_TIME_S", "")
    if not re.fullmatch("[0-9]{1,6}", text) or int(text) < _MIN_STOP_WAIT_S:
        yield (
            f"RAY_JOB_STOP_WAIT_TIME_S is {text or 'not set'}; give at least {_MIN_STOP_WAIT_S}, "
            "or `ray job stop` kills a search before it has written"
        )


def _small_mounts(config: Config) -> Iterator[Problem]:
    for target, source in mapping(config, "file_mounts").items():
        if posixpath.normpath(str(source)) in ("/", "//", "~", ".", "..", "$HOME"):
            yield Problem(
                place=f"file_mounts.{target}",
                message=f"copies all of {source} to every node; name a directory of its own",
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
        if not is_pinned(image):
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


def _encrypted_disks(config: Config) -> Iterator[Problem]:
    for name, node_type in node_types(config).items():
        devices = sequence(node_type, "node_config", "BlockDeviceMappings")
        if not any(mapping(device, "Ebs") for device in devices):
            yield Problem(
                place=f"available_node_types.{name}.node_config.BlockDeviceMappings",
                message="missing; the disk of the machine image is not encrypted",
            )
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


RULES: tuple[Rule, ...] = (
    find_open_networks,
    _no_group_of_rays,
    check_commands,
    _containers,
    _small_mounts,
    _profiles,
    _metadata_service,
    _pinned_images,
    _encrypted_disks,
    _empty_head,
)
