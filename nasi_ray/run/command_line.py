"""Reading a command line with tyro: one text for ``--help``, one line for an error."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import tyro

from nasi_ray.display.formats import escaped
from nasi_ray.run.process import EXIT_SETTINGS, EXIT_STATUSES

J = TypeVar("J")

_WIDE = 100_000
_PLAINER = {
    r"^error parsing (\S+): ": r"\1: ",
    r"invalid literal for int\(\) with base 10: ('.*?'|\".*?\")": r"\1 is not an integer",
    r"could not convert string to float: ('.*?'|\".*?\")": r"\1 is not a number",
    r"Could not find valid parse for arguments: \[(.*)\]; give": r"\1 cannot be read; give",
    r"\. Expected 1 values$": "; give one",
    r"\. Expected one of \((.*)\)": r"; allowed: \1",
}


def parse(
    kind: type[J],
    argv: Sequence[str],
    name: str,
    *,
    about: str = "",
    kinds: Collection[str] = (),
    **options: Any,
) -> J:
    """Read the command line of a job.

    Args:
        kind: Dataclass of the job's settings, or what tyro takes in its place.
        argv: Arguments without the program's name.
        name: Of the job: ``search``, ``rank``, ...
        about: First paragraph of ``--help``; empty: the dataclass's docstring.
        kinds: Of the job, if it has some: the first argument, each with options of its own.
        options: More arguments of ``tyro.cli``.

    Raises:
        NasiRayError: If a value is not allowed.
        SystemExit: On ``--help``, and on malformed arguments after one line of error.
    """
    program = " ".join(["nasi-ray", name, *(arg for arg in argv[:1] if arg in kinds)])
    with _errors_in_one_line(program, argv):
        job: J = tyro.cli(
            kind,
            prog=f"nasi-ray {name}",
            args=list(argv),
            description=f"{about or kind.__doc__}\n\n{EXIT_STATUSES}",
            **options,
        )
    return job


@contextlib.contextmanager
def _errors_in_one_line(program: str, argv: Sequence[str]) -> Iterator[None]:
    if {"-h", "--help"} & {*argv}:
        yield
        return
    said, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(_WIDE)  # tyro would wrap, and break what was given
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as end:
        if end.code != EXIT_SETTINGS:
            raise
        sys.stderr.write(f"error: {escaped(one_line_of(said.getvalue(), program))}\n")
        said = io.StringIO()
        raise
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
        sys.stderr.write(said.getvalue())


def one_line_of(box: str, program: str) -> str:
    """The text of tyro's framed error in one line: what is wrong, and the options that are alike.

    Args:
        box: What tyro wrote: a title, and sections between rules.
        program: Such as ``nasi-ray search``.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    sections: list[list[str]] = [[]]
    for line in plain.splitlines()[1:]:
        row = line.strip(" │╰╯")
        if row and not row.strip("─-"):
            sections.append([])
        elif row:
            sections[-1].append(row)
    parts: list[str] = []
    for section in filter(None, sections):
        head, options = section[0], [row for row in section[1:] if row.startswith("-")]
        if head.startswith("Argument helptext") and "valid parse" in " ".join(parts):
            parts += [f"give {option}" for option in options]
        if head.startswith(("For full", "Argument helptext")):
            continue
        parts.append(" ".join([head, ", ".join(options)]).strip().rstrip("."))
    text = "; ".join(part[:1].lower() + part[1:] for part in parts)
    for pattern, plainer in _PLAINER.items():
        text = re.sub(pattern, plainer, text)
    return f"{text}; {program} --help lists what is allowed"
