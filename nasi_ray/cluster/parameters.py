"""The cluster's files as they are shipped, and the values a user fills in.

A file names a value as ``${NASI_REGION}``; nothing else in it is replaced.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasi_ray.cluster.rules_access import WIDEST_PREFIX
from nasi_ray.errors import ConfigError

TEMPLATES = (
    "ray-cluster.yaml",
    "cluster/security-group.json",
    "cluster/iam/trust-policy.json",
    "cluster/iam/head-policy.json",
    "cluster/iam/worker-policy.json",
    "cluster/iam/run-policy.json",
    "cluster/kuberay/raycluster.yaml",
    "cluster/kuberay/rayjob.yaml",
)
RUNTIME_ENV = "cluster/runtime-env.json"
PLACEHOLDER = re.compile(r"\$\{(NASI_[A-Z0-9_]+)\}")

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of ``nasi_ray``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One value to be filled in."""

    pattern: str
    """What the whole value must match; excludes all that YAML, JSON or a shell would interpret."""
    meaning: str
    """What it is, with an example."""
    default: str | None = None


PARAMETERS: dict[str, Parameter] = {
    "NASI_CLUSTER": Parameter(
        pattern=r"[a-z][a-z0-9-]{0,30}[a-z0-9]",
        meaning="name of the cluster, its roles and its tags: 2 to 32 of a-z, 0-9 and '-'",
        default="nasi",
    ),
    "NASI_ACCOUNT": Parameter(
        pattern=r"[0-9]{12}", meaning="AWS account, 12 digits (aws sts get-caller-identity)"
    ),
    "NASI_REGION": Parameter(
        pattern=r"[a-z]{2}(-[a-z]+)+-[0-9]", meaning="AWS region, such as us-west-2"
    ),
    "NASI_ZONES": Parameter(
        pattern=r"[a-z]{2}(-[a-z]+)+-[0-9][a-z](,[a-z]{2}(-[a-z]+)+-[0-9][a-z])*",
        meaning="availability zones in order of preference, such as us-west-2a,us-west-2b",
    ),
    "NASI_AMI": Parameter(
        pattern=r"ami-[0-9a-f]{8,17}",
        meaning="machine image with Docker and the NVIDIA driver and runtime, ami-...",
    ),
    "NASI_SECURITY_GROUP": Parameter(
        pattern=r"sg-[0-9a-f]{8,17}", meaning="security group of all nodes, sg-..."
    ),
    "NASI_SSH_CIDR": Parameter(
        pattern=r"[0-9./]+",
        meaning="IPv4 network SSH is allowed from, /16 or narrower, such as 203.0.113.7/32",
    ),
    "NASI_IMAGE": Parameter(
        pattern=r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}",
        meaning="container image by digest, registry/name@sha256:<64 hex digits>",
    ),
    "NASI_BUCKET": Parameter(
        pattern=r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", meaning="S3 bucket of the runs"
    ),
    "NASI_PREFIX": Parameter(
        pattern=r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*",
        meaning="prefix of the runs in the bucket, without '/' at its ends",
        default="runs",
    ),
    "NASI_TOKEN_DIR": Parameter(
        pattern=r"[~/][A-Za-z0-9_./-]+",
        meaning="directory on this machine that holds auth_token and nothing else",
        default="~/.nasi",
    ),
    "NASI_NAMESPACE": Parameter(
        pattern=r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        meaning="Kubernetes namespace (KubeRay only)",
        default="nasi",
    ),
}


def checkout() -> Path | None:
    """The top of the repository; None where the package was installed from a wheel."""
    return None if (PACKAGE / "cluster" / "templates").is_dir() else PACKAGE.parent


def template_path(name: str) -> Path:
    """Where a shipped file is: in the repository, or in the package that a wheel installed.

    Args:
        name: As in ``TEMPLATES``, or ``RUNTIME_ENV``.
    """
    return (checkout() or PACKAGE / "cluster" / "templates") / name


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Read the values of ``--set`` flags.

    Args:
        settings: Each ``NAME=VALUE``.

    Raises:
        ConfigError: If one has another form.
    """
    given = {}
    for setting in settings:
        name, is_set, value = setting.partition("=")
        if not is_set or not value:
            raise ConfigError(f"--set {setting!r} is not NAME=VALUE")
        given[name] = value
    return given


def resolve(given: Mapping[str, str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The parameters that have a value: from a flag, else the environment, else the default.

    Args:
        given: Name -> value, from flags.
        environ: Name -> value; None: the process's environment. Other names in it are ignored.

    Raises:
        ConfigError: If a name is unknown or a value is malformed.
    """
    environ = os.environ if environ is None else environ
    for name in given:
        if name not in PARAMETERS:
            raise ConfigError(f"unknown parameter {name!r}{_suggestion(name)}")
    values: dict[str, str] = {}
    for name, parameter in PARAMETERS.items():
        value = given.get(name) or environ.get(name) or parameter.default
        if value:
            values[name] = _checked(name, value)
    return values


def fill(text: str, values: Mapping[str, str], *, place: str) -> str:
    """Replace the placeholders of a file.

    Args:
        text: The file.
        values: As ``resolve`` returns them.
        place: The file's name, for messages.

    Raises:
        ConfigError: If a placeholder is unknown or has no value; names all of them.
    """
    names = list(dict.fromkeys(PLACEHOLDER.findall(text)))
    for name in names:
        if name not in PARAMETERS:
            raise ConfigError(f"{place}: unknown placeholder ${{{name}}}{_suggestion(name)}")
    missing = [name for name in names if name not in values]
    if missing:
        wanted = "; ".join(f"{name} ({PARAMETERS[name].meaning})" for name in missing)
        raise ConfigError(f"{place}: no value for {wanted}; export it or give --set NAME=VALUE")
    return PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _checked(name: str, value: str) -> str:
    parameter = PARAMETERS[name]
    if not re.fullmatch(parameter.pattern, value):
        raise ConfigError(f"{name} is {value!r}; it must be the {parameter.meaning}")
    if name == "NASI_SSH_CIDR":
        _check_network(value)
    return value


def _check_network(value: str) -> None:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ConfigError(f"NASI_SSH_CIDR is {value!r}: {error}") from error
    if network.prefixlen < WIDEST_PREFIX[4]:
        raise ConfigError(
            f"NASI_SSH_CIDR is {value!r}, {network.num_addresses:,} addresses; give the network "
            "you connect from, /16 or narrower"
        )


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, PARAMETERS, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(PARAMETERS)}"
