"""What a configuration's shell commands may not do: start Ray in the open, or without a token."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from cluster.problems import Problem, mapping, sequence

_BETWEEN_COMMANDS = re.compile(r"&&|\|\|?|;|&|\n")
_HEAD_START = re.compile(r"(^|\s)--head\b")
_START = re.compile(r"\bray(\.scripts\.scripts)?\s+start\b")
_HOST = re.compile(r"--dashboard-host(?:\s*=\s*|\s+)(\S+)")
_WHEEL = re.compile(r"ray-wheels|\.dev\d|/latest/ray-|\.whl\b")
_PYTHON = re.compile(r"(\S*/)?python[0-9.]*")
_WRAPPERS = ("setsid", "nohup", "exec")


def commands_of(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Place and text of each command, those of node types included."""
    levels = {"": config}
    for name, node_type in mapping(config, "available_node_types").items():
        levels[f"available_node_types.{name}."] = mapping(node_type)
    for level, content in levels.items():
        for key in content:
            if key.endswith("_commands"):
                for index, command in enumerate(sequence(content, key)):
                    yield f"{level}{key}[{index}]", str(command)


def check_commands(config: dict[str, Any]) -> Iterator[Problem]:
    """Judge all commands of a configuration.

    Args:
        config: As Ray's ``prepare_config`` returns it.
    """
    for place, command in commands_of(config):
        for message in _faults(command, is_of_head=place.startswith("head_start_ray")):
            yield Problem(place=place, message=message)
        if _WHEEL.search(command):
            key = place.partition("[")[0]
            yield Problem(
                place=place,
                message="installs a wheel that is no release (Ray's default when "
                f"{key} is left out); set it to [], all is in the image",
            )


def starts_watcher(config: dict[str, Any]) -> bool:
    """Whether the workers run ``spot_watcher.py``."""
    commands = sequence(config, "worker_start_ray_commands")
    return any(_runs_watcher(part.split()) for command in commands for part in _parts(str(command)))


def _parts(command: str) -> list[str]:
    return _BETWEEN_COMMANDS.split(command.replace("\\\n", " "))


def _faults(command: str, *, is_of_head: bool) -> Iterator[str]:
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("\"'[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _runs_watcher(words: list[str]) -> bool:
    while words and (words[0] in _WRAPPERS or "=" in words[0]):
        words = words[1:]
    if not words or not _PYTHON.fullmatch(words[0]):
        return False
    arguments = [word for word in words[1:] if not word.startswith("-")]
    return arguments[:1] != [] and arguments[0].rpartition("/")[2] == "spot_watcher.py"
