"""The settings of a conversion and its command line. Quick to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nasi_ray.run.command_line import parse

_Source = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
_Target = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TARGET")]
_Table = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TABLE")]


@dataclass(frozen=True, kw_only=True, slots=True)
class NASBench101Job:
    """Convert a NAS-Bench-101 file, and join it with NAS-Bench-1Shot1 spaces."""

    source: _Source
    """nasbench_only108.tfrecord or nasbench_full.tfrecord."""
    target: _Target
    """Parquet file to write; an old one is replaced when the new one is complete."""
    space: tyro.conf.UseAppendAction[tuple[Literal["s1", "s2", "s3"], ...]] = ()
    """Also write nasbench1shot1_SPACE.parquet beside the target; may be given several times."""

    @property
    def space_targets(self) -> dict[str, Path]:
        """Space -> the file its table goes to."""
        folder = Path(self.target).parent
        return {name: folder / f"nasbench1shot1_{name}.parquet" for name in self.space}


@dataclass(frozen=True, kw_only=True, slots=True)
class NASBench201Job:
    """Convert NAS-Bench-201: NATS-Bench's topology data, or the older file."""

    source: _Source
    """The folder NATS-tss-v1_0-*-simple, the file NATS-tss-v1_0-*.pickle.pbz2, or
    NAS-Bench-201-v1_*.pth. It is unpickled, which runs any code it holds: take it from a source
    you trust."""
    target: _Target
    """Parquet file to write; an old one is replaced when the new one is complete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowJob:
    """Describe a table: its rows, and every accuracy with split, schedule and best value."""

    table: _Table
    """A Parquet file."""


_KINDS = ("nasbench101", "nasbench201", "show")

ConvertJob = NASBench101Job | NASBench201Job | ShowJob


def parse_convert(argv: Sequence[str]) -> ConvertJob:
    """Read the conversion job's command line.

    Args:
        argv: Arguments without the program's name.

    Raises:
        SystemExit: On ``--help`` and on malformed arguments (printed by tyro).
    """
    kinds: Any = (
        Annotated[NASBench101Job, tyro.conf.subcommand(_KINDS[0])]
        | Annotated[NASBench201Job, tyro.conf.subcommand(_KINDS[1])]
        | Annotated[ShowJob, tyro.conf.subcommand(_KINDS[2])]
    )
    about = "Convert the official files of tabular benchmarks to Parquet tables."
    job: ConvertJob = parse(kinds, argv, "convert", about=about, kinds=_KINDS)
    return job
