"""The settings of a description and its command line. Quick to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from nasi_ray.config import Auto
from nasi_ray.errors import ConfigError
from nasi_ray.run.command_line import parse
from nasi_ray.run.limits import parse_limits
from nasi_ray.spaces import get_space

PICTURES = (".svg", ".png")


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeJob:
    """Count the parameters and multiply-adds of a cell's network, and draw the cell."""

    genotype: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A DARTS cell: JSON or the text Genotype(...); or the run directory of a search or
    training."""
    space: str = "darts"
    """Space of --architecture."""
    architecture: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """An architecture in the notation of its space, in place of a file."""
    network: Literal["cifar10", "cifar100", "imagenet"] = "cifar10"
    """Network that the cell is built into; for other spaces than darts the benchmark's own network,
    with the classes of cifar10 or cifar100."""
    init_channels: int | Auto = "auto"
    """Channels C of the first cells; auto: 36 (cifar10, cifar100), 46 (imagenet), or the
    benchmark's."""
    num_cells: int | Auto = "auto"
    """Cells L; auto: 20 (cifar10, cifar100) or 14 (imagenet); the benchmarks fix theirs."""
    max_madds: Annotated[str | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Take the largest C with at most this many multiply-adds, such as 600M."""
    max_params: Annotated[str | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Take the largest C with at most this many parameters, such as 4M (no auxiliary tower)."""
    picture: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw the cell to this file, .svg or .png; darts only."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def __post_init__(self) -> None:
        get_space(self.space)
        parse_limits(self)
        if (self.max_madds or self.max_params) and self.init_channels != "auto":
            raise ConfigError(
                f"init_channels is {self.init_channels}, but --max-madds and --max-params choose "
                "it; leave one out"
            )
        if self.picture is not None and not self.picture.lower().endswith(PICTURES):
            raise ConfigError(f"picture is {self.picture!r}; it must end with .svg or .png")


def parse_describe(argv: Sequence[str]) -> DescribeJob:
    """Read the command line.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    job = parse(DescribeJob, argv, "describe")
    if (job.genotype is None) == (job.architecture is None):
        raise ConfigError(
            "give a cell: either --genotype with a file or run directory, or --architecture with "
            "its text (and --space)"
        )
    return job
