"""Command lines made of the settings: flags, presets, one-line errors, stopping."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

import tyro

from nasi_ray.config import get_preset
from nasi_ray.errors import NasiRayError, SearchStoppedError
from nasi_ray.launch.search import SearchJob

EXIT_ERROR = 1
EXIT_STOPPED = 130


def parse_search(argv: Sequence[str]) -> SearchJob:
    """Read the search job's command line; precedence: default < preset < flag.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="nasi-fix")
    preset = get_preset(first.parse_known_args(list(argv))[0].preset)
    return tyro.cli(
        SearchJob,
        args=list(argv),
        default=SearchJob(estimate=preset),
        config=(tyro.conf.OmitArgPrefixes,),
    )


@contextlib.contextmanager
def reporting_errors() -> Iterator[None]:
    """Print the errors users can cause as one line, and exit: 1, or 130 when stopped."""
    try:
        yield
    except SearchStoppedError as stopped:
        sys.stderr.write(f"{stopped}\n")
        sys.exit(EXIT_STOPPED)
    except NasiRayError as error:
        sys.stderr.write(f"error: {_printable(str(error))}\n")
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("stopped before any sample was evaluated\n")
        sys.exit(EXIT_STOPPED)


def _printable(text: str) -> str:
    # Names of files and fields may hold anything: line breaks, escape codes, lone surrogates.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM (as ``ray job stop`` sends) as Ctrl-C while the context is open."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
