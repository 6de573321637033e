"""The settings of a description and its command line. Quick to import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from nasi_ray.config import Auto
from nasi_ray.errors import ConfigError
from nasi_ray.run.command_line import parse
from nasi_ray.spaces import get_space

PICTURES = (".svg", ".png")

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}


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
        for name in ("max_madds", "max_params"):
            parse_number(name, getattr(self, name))
        if (self.max_madds or self.max_params) and self.init_channels != "auto":
            raise ConfigError(
                f"init_channels is {self.init_channels}, but --max-madds and --max-params choose "
                "it; leave one out"
            )
        if self.picture is not None and not self.picture.lower().endswith(PICTURES):
            raise ConfigError(f"picture is {self.picture!r}; it must end with .svg or .png")

    @property
    def limits(self) -> tuple[float, float]:
        """Most parameters and most multiply-adds; infinite where there is no limit."""
        params = parse_number("max_params", self.max_params)
        return params, parse_number("max_madds", self.max_madds)


def parse_number(name: str, text: str | None) -> float:
    """Read ``600M``; infinity for None.

    Args:
        name: Of the setting, for messages.
        text: A number, perhaps with K, M or G after it.

    Raises:
        ConfigError: If it is no number above 0.
    """
    if text is None:
        return float("inf")
    match = _NUMBER.fullmatch(text.strip())
    number = float(match[1]) * _FACTORS[match[2].lower()] if match else 0.0
    if not number > 0:
        raise ConfigError(f"{name} is {text!r}; give a number such as 600M, 0.6G or 600000000")
    return number


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
