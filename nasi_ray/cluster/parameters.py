"""The cluster's files as they are shipped, and the values a user fills in.

A file names a value as ``${NASI_REGION}``; nothing else in it is replaced.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nasi_ray.errors import ConfigError

TEMPLATES = (
    "ray-cluster.yaml",
    "cluster/security-group.json",
    "cluster/iam/trust-policy.json",
    "cluster/iam/head-policy.json",
    "cluster/iam/worker-policy.json",
    "cluster/iam/train-policy.json",
    "cluster/iam/run-policy.json",
    "cluster/kuberay/raycluster.yaml",
    "cluster/kuberay/rayjob.yaml",
)
RUNTIME_ENV = "cluster/runtime-env.json"
PLACEHOLDER = re.compile(r"\$\{(NASI_[A-Z0-9_]+)\}")

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of ``nasi_ray``."""

_WIDEST_PREFIX = 16
_HEX_ID = "[0-9a-f]{8,17}"
# The policies and the registry's address are those of AWS's main partition.
_REGION = "(?!cn-|us-gov-|us-iso)[a-z]{2}(?:-[a-z]+)+-[0-9]"
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
_REGION_IN_NAME = re.compile(r"(?<![a-z])(?:af|ap|ca|eu|il|me|mx|sa|us)-[a-z]{4,9}-[0-9](?![0-9])")
_REGISTRY = re.compile(r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/(.+)@.+")


class Parameter(NamedTuple):
    """One value to be filled in."""

    pattern: str
    """What the whole value must match; excludes all that YAML, JSON or a shell would interpret."""
    meaning: str
    """What it is, with an example."""
    default: str | None = None


PARAMETERS = {
    "NASI_CLUSTER": Parameter(
        "[a-z][a-z0-9-]{0,30}[a-z0-9]",
        "name of the cluster, its roles and its tags: 2 to 32 of a-z, 0-9 and '-'",
        "nasi",
    ),
    "NASI_ACCOUNT": Parameter("[0-9]{12}", "AWS account, 12 digits (aws sts get-caller-identity)"),
    "NASI_REGION": Parameter(_REGION, "AWS region, not of China or GovCloud, such as us-west-2"),
    "NASI_ZONES": Parameter(
        f"{_REGION}[a-z](?:,{_REGION}[a-z])*",
        "availability zones in order of preference, such as us-west-2a,us-west-2b",
    ),
    "NASI_AMI": Parameter(
        f"ami-{_HEX_ID}", "machine image with Docker and the NVIDIA driver and runtime, ami-..."
    ),
    "NASI_SECURITY_GROUP": Parameter(f"sg-{_HEX_ID}", "security group of all nodes, sg-..."),
    "NASI_SSH_CIDR": Parameter(
        "[0-9./]+",
        f"IPv4 network SSH is allowed from, /{_WIDEST_PREFIX} or narrower, such as 203.0.113.7/32",
    ),
    "NASI_IMAGE": Parameter(
        "[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}",
        "container image by digest, registry/name@sha256:<64 hex digits>",
    ),
    "NASI_BUCKET": Parameter("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "S3 bucket of the runs"),
    "NASI_PREFIX": Parameter(
        f"{_SEGMENT}(?:/{_SEGMENT})*",
        "prefix of the runs in the bucket, without '/' at its ends",
        "runs",
    ),
    "NASI_TOKEN_DIR": Parameter(
        rf"(?:~|/{_SEGMENT})(?:/\.?{_SEGMENT})*/\.?nasi[A-Za-z0-9_-]*",
        "directory on this machine, named nasi... or .nasi..., that holds auth_token alone",
        "~/.nasi",
    ),
    "NASI_NAMESPACE": Parameter(
        "[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", "Kubernetes namespace (KubeRay only)", "nasi"
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
        ConfigError: If a name is unknown, a value is malformed, or two do not fit each other.
    """
    environ = os.environ if environ is None else environ
    for name in given:
        if name not in PARAMETERS:
            raise ConfigError(f"unknown parameter {name!r}{_suggestion(name)}")
    values: dict[str, str] = {}
    for name, parameter in PARAMETERS.items():
        value = given.get(name) or environ.get(name) or parameter.default
        if value:
            values[name] = value
    for fault in (*(fault_of(*pair) for pair in values.items()), *misfits(values)):
        if fault:
            raise ConfigError(fault)
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


def fault_of(name: str, value: str) -> str | None:
    """What is wrong with one value by itself, if anything.

    Args:
        name: As in ``PARAMETERS``.
        value: Any text.
    """
    if not re.fullmatch(PARAMETERS[name].pattern, value):
        return f"{name} is {value!r}; it must be the {PARAMETERS[name].meaning}"
    if name != "NASI_SSH_CIDR":
        return None
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        return f"{name} is {value!r}: {error}"
    if network.prefixlen >= _WIDEST_PREFIX:
        return None
    return (
        f"{name} is {value!r}, {network.num_addresses:,} addresses; give the network you connect "
        f"from, /{_WIDEST_PREFIX} or narrower"
    )


def misfits(values: Mapping[str, str]) -> Iterator[str]:
    """Which values do not fit each other, as far as their texts show.

    Args:
        values: Name -> well-formed value; those that are missing are not compared.
    """
    region = values.get("NASI_REGION")
    if region is None:
        return
    for zone in values.get("NASI_ZONES", region).split(","):
        if zone.rstrip("abcdefgh") != region:
            yield (
                f"NASI_ZONES names {zone}, which is not in NASI_REGION, {region}; correct one of "
                "them"
            )
    bucket = values.get("NASI_BUCKET", "")
    for other in _REGION_IN_NAME.findall(bucket):
        if other != region:
            yield (
                f"NASI_BUCKET is {bucket}, whose name gives another region than NASI_REGION, "
                f"{region}; correct one of them"
            )
    if registry := _REGISTRY.fullmatch(values.get("NASI_IMAGE", "")):
        wanted = ("NASI_ACCOUNT", "NASI_REGION", "NASI_CLUSTER")
        for name, part in zip(wanted, registry.groups(), strict=True):
            if values.get(name, part) != part:
                yield (
                    f"NASI_IMAGE is in {part}, but {name} is {values[name]}; the IAM roles can "
                    "pull only from the repository with the cluster's own name, account and "
                    "region, so correct one of them"
                )


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, PARAMETERS, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(PARAMETERS)}"
