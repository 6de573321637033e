"""``nasi-ray cluster render``: fill values into the cluster's files, ready to be used.

    nasi-ray cluster render --out build/cluster --set NASI_REGION=us-west-2

Values come from ``--set``, else from environment variables of the same names. Without ``--only``
all files are rendered, also those whose values you may not have yet.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nasi_ray.cluster.documents import read_text
from nasi_ray.cluster.parameters import (
    PARAMETERS,
    TEMPLATES,
    fill,
    parse_settings,
    resolve,
    template_path,
)
from nasi_ray.display.formats import escaped
from nasi_ray.errors import ConfigError, StorageError
from nasi_ray.storage import LocalStorage


def check_token_directory(value: str) -> None:
    """Refuse a directory with more in it than the token: `ray up` copies all of it to every node.

    Args:
        value: As given for ``NASI_TOKEN_DIR``; it need not exist yet.

    Raises:
        ConfigError: If it is the home directory or one above it, not a directory, or holds more.
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
            f"NASI_TOKEN_DIR is {value}; `ray up` would copy {(others or names)[0]} and "
            f"all the rest of it to every node; {advice}"
        )


def render_all(values: Mapping[str, str], out: Path, templates: Sequence[str]) -> list[Path]:
    """Write the filled files, none of them if one cannot be filled.

    Args:
        values: As ``parameters.resolve`` returns them.
        out: Directory, made where it is missing; a file keeps its last name.
        templates: Some of ``TEMPLATES``.

    Raises:
        ConfigError: If a file has an unknown placeholder or one without a value, the token's
            directory holds more than the token, or ``out`` cannot be written.
    """
    if "ray-cluster.yaml" in templates and "NASI_TOKEN_DIR" in values:
        check_token_directory(values["NASI_TOKEN_DIR"])
    texts = {name: fill(read_text(template_path(name)), values, place=name) for name in templates}
    storage, written = LocalStorage(out), []
    try:
        for name, text in texts.items():
            path = out / Path(name).name
            storage.write(path.name, text.encode())
            written.append(path)
    except StorageError as error:
        raise ConfigError(f"cannot write to {out}: {error}") from error
    return written


def main(argv: Sequence[str]) -> int:
    """Render the files.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status: 0, or 2 after one line on what is missing or malformed.
    """
    known = "\n".join(
        f"  {name}: {parameter.meaning}" + (f" [{parameter.default}]" if parameter.default else "")
        for name, parameter in PARAMETERS.items()
    )
    parser = argparse.ArgumentParser(
        prog="nasi-ray cluster render",
        description="Fill values into the cluster's files.",
        epilog=f"values, by --set or as environment variables:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", default="build/cluster", help="directory [build/cluster]")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", action="append", choices=TEMPLATES, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        values = resolve(parse_settings(args.set), os.environ)
        written = render_all(values, Path(args.out), args.only or TEMPLATES)
    except ConfigError as error:
        sys.stderr.write(escaped(f"error: {error}") + "\n")
        return 2
    for path in written:
        sys.stdout.write(escaped(str(path)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
