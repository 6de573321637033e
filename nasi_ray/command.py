"""The command ``nasi-ray``: one subcommand per job. Parsing imports neither torch nor Ray.

``jobs/*.py`` call the same code, for ``ray job submit -- python jobs/search.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from nasi_ray.commands.output import print_lines
from nasi_ray.errors import UnknownNameError
from nasi_ray.run.process import EXIT_ERROR, EXIT_STATUSES, reporting_errors, stopping_once
from nasi_ray.run.supervise import supervised
from nasi_ray.version import __version__

COMMANDS = {
    "search": ("search a cell at initialization, without training", "commands.search"),
    "sweep": ("search with many seeds and settings side by side", "commands.sweep"),
    "rank": ("rank architectures by training-free proxies", "commands.rank"),
    "study": ("test searches against tables of accuracies", "commands.study"),
    "convert": ("convert benchmark files to tables of accuracies", "commands.convert"),
    "train": ("train the network of a cell", "commands.train"),
    "describe": ("count and draw the network of a cell", "commands.describe"),
    "export": ("write a trained model for other programs", "commands.export"),
    "replay": ("say which cell every setting of a grid selects", "commands.replay"),
    "confidence": ("say how certain the cell of one or more runs is", "commands.confidence"),
    "show": ("list the answers of a run side by side", "show"),
    "report": ("write a page about runs: one HTML file", "commands.report"),
    "watch": ("show the progress of a run that another process makes", "watch"),
    "cluster": ("render and check cluster files, submit jobs", "cluster.tools"),
    "version": ("print versions", "command"),
}
"""Name -> description, and the module in ``nasi_ray``, with ``main(argv) -> status``."""

_WRITING = ("search", "sweep", "rank", "study", "convert", "train", "export", "report", "cluster")
"""Commands that leave more than what they print."""

_ON_RAY = ("search", "sweep", "rank", "study", "train")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: Arguments without the program's name; None: the arguments of this process.

    Returns:
        The exit status (``run.process``).

    Raises:
        SystemExit: After an error, on ``--help``, and on malformed flags.
    """
    # Read when NumPy and SciPy load. On matrices as small as ours threads wait for one another, and
    # one thread gives the same digits on any number of cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        os.getcwd()
    except FileNotFoundError:  # torch's libraries end the process over it
        sys.stderr.write("error: the working directory was deleted; go to another directory\n")
        sys.exit(EXIT_ERROR)
    run = partial(_run, args)
    return supervised(run) if args[:1] and args[0] in _ON_RAY else run()


def _run(args: list[str]) -> int:
    name = args[0] if args else "--help"
    with reporting_errors(only_prints=name not in _WRITING), stopping_once():
        if name in ("-h", "--help"):
            print_lines(_help())
            return 0
        if name in ("version", "--version"):
            print_lines(_version())
            return 0
        if name.startswith("--tyro-"):
            module, args = "commands.completion", ["", *args]
        elif name in COMMANDS:
            module = COMMANDS[name][1]
        else:
            raise UnknownNameError("command", name, list(COMMANDS))
        status: int = importlib.import_module(f"nasi_ray.{module}").main(args[1:])
        return status


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, (about, _) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: nasi-ray COMMAND [OPTION ...]",
            "",
            "Neural Architecture Search at Initialization, on a laptop or a Ray cluster.",
            "",
            *lines,
            "",
            "nasi-ray COMMAND --help lists the options of a command.",
            "nasi-ray --tyro-print-completion bash (zsh, tcsh) prints a completion script.",
            "",
            textwrap.fill(EXIT_STATUSES, 80),
        ]
    )


def _version() -> str:
    parts = [f"Python {platform.python_version()}"]
    for package in ("torch", "ray"):
        with contextlib.suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    return f"nasi_ray {__version__} ({', '.join(parts)})"


if __name__ == "__main__":
    sys.exit(main())
