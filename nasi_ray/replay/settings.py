"""The settings of a replay and its command line. Quick to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from nasi_ray.errors import ConfigError
from nasi_ray.replay.grid import parse_grid, points_of
from nasi_ray.run.command_line import parse


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
    return parse(ReplayJob, argv, "replay")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceJob:
    """Say how sure each decision is in one run, or over several, and what they select together."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run directories of searches of one space, paths or s3://bucket/prefix."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]")] = ()
    """Settings of the estimate, such as objective=relative num_samples=400. All others are those of
    the space's preset, with all samples."""

    def __post_init__(self) -> None:
        read_settings(self.set)


def parse_confidence(argv: Sequence[str]) -> ConfidenceJob:
    """Read the command line; arguments and errors as of ``parse_replay``."""
    return parse(ConfidenceJob, argv, "confidence")


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``objective=relative num_samples=400``.

    Raises:
        ConfigError: If a name or value is not allowed, or a setting has several values.
    """
    if not texts:
        return {}
    grid = parse_grid(texts)
    for name, values in grid.items():
        if len(values) > 1:
            raise ConfigError(f"set has {len(values)} values of {name}; give one, or use replay")
    return points_of(grid)[0]
