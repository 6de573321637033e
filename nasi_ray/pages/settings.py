"""The settings of a report and its command line. Quick to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from nasi_ray.errors import ConfigError
from nasi_ray.run.command_line import parse


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportJob:
    """Write a page about searches, sweeps, studies, rankings and trainings: one HTML file.

    Raises:
        ConfigError: If no run is given, or the page has no name that ends in .html.
    """

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run directories, paths or s3://bucket/prefix: of searches, sweeps, studies, rankings,
    trainings and lists of trainings."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """The page, a path or s3://bucket/prefix that ends in .html; by default report.html in the
    first run directory."""
    figures: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory for each figure as SVG and PNG, for papers."""
    data: str | None = None
    """Where the images are now, if they have moved since the run."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("no run was given; name the --out of a search, sweep or training")
        if not self.target.endswith(".html"):
            raise ConfigError(f"out is {self.out!r}; give a file that ends in .html")

    @property
    def target(self) -> str:
        """Where the page goes."""
        return f"{self.runs[0].rstrip('/')}/report.html" if self.out is None else self.out


def parse_report(argv: Sequence[str]) -> ReportJob:
    """Read the command line.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    return parse(ReportJob, argv, "report")
