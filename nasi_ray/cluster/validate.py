"""``nasi-ray cluster validate``: check a cluster's files before anything is launched.

    nasi-ray cluster validate build/cluster/ray-cluster.yaml

``ray up`` has no dry run. A cluster configuration goes through Ray's own validator, botocore's
model of RunInstances and ``rules_cluster``; KubeRay manifests, IAM policies and security groups go
through rules of their own. Nothing is sent anywhere. Exit status: 0 all is well, 1 problems (one
line each), 2 a malformed flag or value.
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasi_ray.cluster.documents import Problem, parse_documents, read_text
from nasi_ray.cluster.parameters import PLACEHOLDER, fill, parse_settings, resolve
from nasi_ray.cluster.rules_access import check_iam_policy, check_security_group
from nasi_ray.cluster.rules_cluster import check_limits, check_policy, node_types
from nasi_ray.cluster.rules_kuberay import check_manifest
from nasi_ray.errors import ConfigError

_OF_RAY_ONLY = frozenset({"SubnetIds"})
"""Keys of a node_config that Ray takes out before it calls AWS."""


def check_text(text: str, *, is_json: bool = False) -> list[Problem]:
    """Check the content of a file, whichever of the kinds it is.

    Args:
        text: YAML or JSON.
        is_json: Whether it must be JSON.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        found = PLACEHOLDER.search(line)
        if found and not line.lstrip().startswith("#"):
            message = f"{found[0]} is not filled in; run nasi-ray cluster render"
            return [Problem(f"line {number}", message)]
    try:
        documents = parse_documents(text, is_json=is_json)
    except ConfigError as error:
        return [Problem("file", str(error))]
    if not documents:
        return [Problem("file", "empty")]
    return [problem for document in documents for problem in check_document(document)]


def check_document(document: Any) -> list[Problem]:
    """Check one parsed document.

    Args:
        document: A cluster configuration, Kubernetes object, IAM policy or security group.
    """
    if isinstance(document, list):
        return check_security_group(document)
    if not isinstance(document, dict):
        return [Problem("file", "not a mapping")]
    if "apiVersion" in document:
        return check_manifest(document)
    if "Statement" in document:
        return check_iam_policy(document)
    return check_cluster(document)


def check_cluster(config: dict[str, Any]) -> list[Problem]:
    """Check a cluster configuration for AWS.

    Args:
        config: As it was written.
    """
    provider = config.get("provider")
    if not isinstance(provider, dict) or provider.get("type") != "aws":
        return [Problem("provider.type", "must be aws; only AWS is checked here")]
    prepared, problems = _prepare(config)
    if prepared is None:
        return problems
    for name, node_type in node_types(config).items():
        problems += _check_launch(name, node_type.get("node_config"))
    return [*problems, *check_policy(prepared), *check_limits(config)]


def _prepare(config: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """Merge Ray's defaults in and have Ray validate the result."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        return None, [Problem("file", f"Ray cannot read it: {error!r}")]
    try:
        validate_config(prepared)
    except jsonschema.ValidationError as error:
        return prepared, [Problem(error.json_path.lstrip("$.") or "file", error.message)]
    except (RuntimeError, ValueError, TypeError) as error:
        return prepared, [Problem("file", str(error))]
    return prepared, []


@functools.cache
def _launch_shape() -> Any:
    import botocore.session

    session = botocore.session.get_session()
    return session.get_service_model("ec2").operation_model("RunInstances").input_shape


def _check_launch(name: str, node_config: Any) -> list[Problem]:
    """Whether EC2's RunInstances knows each key of a node_config, with that type of value."""
    from botocore.validate import ParamValidator

    place = f"available_node_types.{name}.node_config"
    if not isinstance(node_config, dict):
        return [Problem(place, "missing or not a mapping")]
    call = {key: value for key, value in node_config.items() if key not in _OF_RAY_ONLY}
    report = ParamValidator().validate({**call, "MinCount": 1, "MaxCount": 1}, _launch_shape())
    found = report.generate_report().splitlines() if report.has_errors() else []
    return [Problem(place, line) for line in found]


def main(argv: Sequence[str]) -> int:
    """Check files.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status: 0; 1 after a line for each problem; 2 after a line on a malformed value.
    """
    parser = argparse.ArgumentParser(
        prog="nasi-ray cluster validate", description="Check a cluster's files, offline."
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--render", action="store_true", help="fill in values first (templates)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    if args.set and not args.render:
        parser.error("--set has no effect without --render")
    try:
        values = resolve(parse_settings(args.set), os.environ) if args.render else None
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return max(_check_file(name, values) for name in args.files)


def _check_file(name: str, values: Mapping[str, str] | None) -> int:
    try:
        text = read_text(Path(name))
        if values is not None:
            text = fill(text, values, place=name)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    problems = check_text(text, is_json=name.endswith(".json"))
    for problem in problems:
        sys.stderr.write(f"{name}: {problem}\n")
    if problems:
        return 1
    sys.stdout.write(f"{name}: ok\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
