"""The settings of a replay and its command line. Quick to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from nasi_ray.replay.grid import parse_grid
from nasi_ray.run.process import EXIT_STATUSES


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayJob:
    """Say which cell every setting of a grid selects, from stored records alone."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run directories of searches of one space, paths or s3://bucket/prefix."""
    grid: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUES [NAME=VALUES ...]")]
    """Settings of the estimate, such as nu=20:2000:log:10 mu=0,1,2 method=fix,ada. VALUES are
    separated by commas; FIRST:LAST:log and FIRST:LAST:lin are 10 values, or as many as a fourth
    number says. All other settings are those of the space's preset, with all samples."""
    table: str = ""
    """Table of accuracies, or the directory of tables; adds the errors of the cells."""
    metric: str = ""
    """Column of the table; empty: test accuracy on CIFAR-10 after the full schedule."""
    out: str = ""
    """Directory for replay.json, replay.csv and the map of ν and μ, map.svg and map.png."""

    def __post_init__(self) -> None:
        parse_grid(self.grid)


def parse_replay(argv: Sequence[str]) -> ReplayJob:
    """Read the command line.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    return tyro.cli(
        ReplayJob,
        prog="nasi-ray replay",
        args=list(argv),
        description=f"{ReplayJob.__doc__}\n\n{EXIT_STATUSES}",
    )
