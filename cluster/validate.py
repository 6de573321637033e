"""Check a cluster's files before anything is launched: ``ray up`` has no dry run.

    python -m cluster.validate build/cluster/ray-cluster.yaml

A cluster configuration goes through Ray's own validator, botocore's model of RunInstances, and
the rules of ``cluster.policy`` and ``cluster.limits``; KubeRay manifests and IAM policies through
their own. Nothing is sent anywhere. Exit status: 0 all is well, 1 problems (one line each).
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.documents import parse_documents, read_text
from cluster.kuberay_manifest import check_manifest
from cluster.limits import check_limits
from cluster.networks import check_security_group
from cluster.parameters import PLACEHOLDER, fill, resolve
from cluster.permissions import check_iam_policy
from cluster.policy import check_policy, node_types
from cluster.problems import Problem
from cluster.render import parse_settings
from nasi_ray.errors import ConfigError, NasiRayError

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
            message = f"{found[0]} is not filled in; run python -m cluster.render"
            return [Problem(place=f"line {number}", message=message)]
    try:
        documents = parse_documents(text, is_json=is_json)
    except ConfigError as error:
        return [Problem(place="file", message=str(error))]
    if not documents:
        return [Problem(place="file", message="empty")]
    return [problem for document in documents for problem in check_document(document)]


def check_document(document: Any) -> list[Problem]:
    """Check one parsed document.

    Args:
        document: A cluster configuration, Kubernetes object, IAM policy or security group.
    """
    if isinstance(document, list):
        return check_security_group(document)
    if not isinstance(document, dict):
        return [Problem(place="file", message="no mapping")]
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
        return [Problem(place="provider.type", message="must be aws; only AWS is checked here")]
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
        return None, [Problem(place="file", message=f"Ray cannot read it: {error!r}")]
    try:
        validate_config(prepared)
    except jsonschema.ValidationError as error:
        return prepared, [
            Problem(place=error.json_path.lstrip("$.") or "file", message=error.message)
        ]
    except (RuntimeError, ValueError, TypeError) as error:
        return prepared, [Problem(place="file", message=str(error))]
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
        return [Problem(place=place, message="missing or no mapping")]
    call = {key: value for key, value in node_config.items() if key not in _OF_RAY_ONLY}
    report = ParamValidator().validate({**call, "MinCount": 1, "MaxCount": 1}, _launch_shape())
    found = report.generate_report().splitlines() if report.has_errors() else []
    return [Problem(place=place, message=line) for line in found]


def main(argv: Sequence[str] | None = None) -> int:
    """Check files; 0, or 1 and a line per problem."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster.validate", description="Check a cluster's files, offline."
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument(
        "--render", action="store_true", help="fill in parameters first (templates)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    status = 0
    for name in args.files:
        try:
            problems = _check_file(name, args.set if args.render else None)
        except NasiRayError as error:
            sys.stderr.write(f"error: {error}\n")
            status = 1
            continue
        for problem in problems:
            sys.stderr.write(f"{name}: {problem}\n")
        if problems:
            status = 1
        else:
            sys.stdout.write(f"{name}: ok\n")
    return status


def _check_file(name: str, settings: Sequence[str] | None) -> list[Problem]:
    text = read_text(Path(name))
    if settings is not None:
        text = fill(text, resolve(parse_settings(settings), os.environ), place=name)
    return check_text(text, is_json=name.endswith(".json"))


if __name__ == "__main__":
    sys.exit(main())
