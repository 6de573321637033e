"""``nasi-ray cluster validate``: check a cluster's files before anything is launched.

    nasi-ray cluster validate build/cluster/*

A file may contain what ``allowed.yaml`` lists; anything else is a problem, with its place. Then its
values must fit each other, and those of the other files. ``ray up`` has no dry run: a cluster
configuration goes through Ray's own validator, too. Nothing is sent anywhere. Exit status: 0 all
is well, 1 problems (one line each), 2 a malformed flag or value.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasi_ray.cluster.allow_list import Value, compare, conflicts, kinds_of_documents
from nasi_ray.cluster.documents import Problem, parse_documents, read_text
from nasi_ray.cluster.parameters import PARAMETERS, PLACEHOLDER, fill, parse_settings, resolve
from nasi_ray.cluster.rules import check_cluster, check_company, check_ray_cluster
from nasi_ray.display.formats import escaped
from nasi_ray.errors import ConfigError


def check_text(text: str, *, name: str = "") -> list[Problem]:
    """Check the content of a file, whichever of the kinds it is.

    Args:
        text: YAML or JSON.
        name: The file's name. One in ``.json`` must be JSON; ``worker-policy.json`` may only have
            what a worker may. Without a name, a policy is taken for the one it resembles most.
    """
    return _examine(text, name)[0]


def _examine(text: str, name: str) -> tuple[list[Problem], list[Value]]:
    """Problems of a file, and the values of ``nasi-ray cluster render`` that it has."""
    for number, line in enumerate(text.splitlines(), start=1):
        found = PLACEHOLDER.search(line)
        if found and not line.lstrip().startswith("#"):
            message = f"{found[0]} is not filled in; run nasi-ray cluster render"
            return [Problem(f"line {number}", message)], []
    try:
        documents = parse_documents(text, is_json=name.endswith(".json"))
    except ConfigError as error:
        return [Problem("file", str(error))], []
    if not documents:
        return [Problem("file", "empty")], []
    compared = [_compare(document, Path(name).name) for document in documents]
    problems = [problem for of_one, _ in compared for problem in of_one]
    values = [value for _, of_one in compared for value in of_one]
    problems += conflicts(values)
    return problems or list(check_company(documents)), values


def check_document(document: Any, *, name: str = "") -> list[Problem]:
    """Check one parsed document.

    Args:
        document: A cluster configuration, Kubernetes object, IAM policy or security group.
        name: As for ``check_text``.
    """
    problems, values = _compare(document, name)
    return problems + list(conflicts(values))


def _compare(document: Any, name: str) -> tuple[list[Problem], list[Value]]:
    if isinstance(document, list):
        return compare("security group", document)
    if not isinstance(document, dict):
        return [Problem("file", "not a mapping")], []
    if "Statement" in document:
        policies = [kind for kind in kinds_of_documents() if kind.endswith("-policy.json")]
        kinds = [name] if name in policies else policies
        return min((compare(kind, document) for kind in kinds), key=lambda found: len(found[0]))
    if "apiVersion" in document:
        kind, known = document.get("kind"), [k for k in kinds_of_documents() if k[0].isupper()]
        if kind not in known:
            message = f"{kind} is not allowed; use one of {', '.join(known)}, or remove it"
            return [Problem("kind", message)], []
    else:
        kind = "cluster"
    problems, values = compare(kind, document)
    return problems or list(_check_fit(kind, document)), values


def _check_fit(kind: str, document: dict[str, Any]) -> Iterator[Problem]:
    if kind == "cluster":
        yield from check_cluster(document)
        yield from _ask_ray(document)
    elif kind == "RayCluster":
        yield from check_ray_cluster(document["spec"], "spec")
    elif kind == "RayJob":
        yield from check_ray_cluster(document["spec"]["rayClusterSpec"], "spec.rayClusterSpec")


def _ask_ray(config: dict[str, Any]) -> Iterator[Problem]:
    """What Ray's own validator says, once Ray has merged its defaults in."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except jsonschema.ValidationError as error:
        yield Problem(error.json_path.lstrip("$.") or "file", error.message)
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        yield Problem("file", f"Ray refuses it: {error!r}")


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
        sys.stderr.write(escaped(f"error: {error}") + "\n")
        return 2
    status, found = 0, []
    for name in args.files:
        of_file = _check_file(name, values)
        status = max(status, of_file is None)
        found += of_file or []
    for problem in conflicts(found):
        sys.stderr.write(escaped(str(problem)) + "\n")
        status = 1
    return status


def _check_file(name: str, values: Mapping[str, str] | None) -> list[Value] | None:
    """Print what is wrong; else return one value of each name, its place with the file's name."""
    try:
        text = read_text(Path(name))
        if values is not None:
            text = fill(text, values, place=name)
    except ConfigError as error:
        sys.stderr.write(escaped(f"error: {error}") + "\n")
        return None
    problems, found = _examine(text, name)
    for problem in problems:
        sys.stderr.write(escaped(f"{name}: {problem}") + "\n")
    if problems:
        return None
    sys.stdout.write(escaped(f"{name}: ok") + "\n")
    named = {value.name: value for value in reversed(found) if value.name in PARAMETERS}
    return [value._replace(place=f"{name}: {value.place}") for value in named.values()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
