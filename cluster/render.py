"""Fill the parameters into the cluster's files: templates in, files to use out.

    python -m cluster.render --out build/cluster --set NASI_REGION=us-west-2

Values come from ``--set``, else from environment variables of the same names. Without a
``--only``, all files are rendered; the values some of them need may not exist yet.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.documents import read_text
from cluster.parameters import PARAMETERS, fill, resolve
from nasi_ray.errors import ConfigError, NasiRayError

ROOT = Path(__file__).resolve().parent.parent

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


def check_token_directory(value: str) -> None:
    """Refuse a directory of which more than the token would go to every node.

    Args:
        value: As given for ``NASI_TOKEN_DIR``; it need not exist yet.

    Raises:
        ConfigError: If it is the home directory or one above it, no directory, or holds more.
    """
    advice = "give a directory that holds auth_token and nothing else, such as ~/.nasi"
    try:
        path = Path(value).expanduser().resolve()
        home = Path.home().resolve()
        names = sorted(p.name for p in path.iterdir()) if path.exists() else []
        is_file = (path / "auth_token").is_file()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"NASI_TOKEN_DIR is {value}: {error}; {advice}") from error
    if path == home or path in home.parents:
        raise ConfigError(f"NASI_TOKEN_DIR is {value}, which `ray up` would copy whole; {advice}")
    others = [name for name in names if name != "auth_token"]
    if others or (names and not is_file):
        raise ConfigError(
            f"NASI_TOKEN_DIR is {value}, of which `ray up` would copy {(others or names)[0]} and "
            f"all the rest to every node; {advice}"
        )


def render_all(values: Mapping[str, str], out: Path, templates: Sequence[str]) -> list[Path]:
    """Write the filled files, none of them if one cannot be filled.

    Args:
        values: As ``cluster.parameters.resolve`` returns them.
        out: Directory, made if need be; a file keeps its last name.
        templates: Some of ``TEMPLATES``.

    Raises:
        ConfigError: If a file has an unknown placeholder or one without a value, the token's
            directory holds more than it, or ``out`` cannot be written.
    """
    if "ray-cluster.yaml" in templates and "NASI_TOKEN_DIR" in values:
        check_token_directory(values["NASI_TOKEN_DIR"])
    texts = {name: fill(read_text(ROOT / name), values, place=name) for name in templates}
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = out / Path(name).name
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error}") from error
    return written


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` arguments.

    Raises:
        ConfigError: If one has another form.
    """
    given = {}
    for setting in settings:
        name, is_set, value = setting.partition("=")
        if not is_set or not value:
            raise ConfigError(f"--set {setting!r} is no NAME=VALUE")
        given[name] = value
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Render; 0, or 1 and one line when something is missing or malformed."""
    known = "\n".join(
        f"  {name}: {parameter.meaning}" + (f" [{parameter.default}]" if parameter.default else "")
        for name, parameter in PARAMETERS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m cluster.render",
        description="Fill the parameters into the cluster's files.",
        epilog=f"parameters:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", default="build/cluster", help="directory [build/cluster]")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", action="append", choices=TEMPLATES, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        values = resolve(parse_settings(args.set), os.environ)
        written = render_all(values, Path(args.out), args.only or TEMPLATES)
    except NasiRayError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
