"""Command lines made of the settings: flags and presets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import tyro

from nasi_ray.config import PRESETS, SampleConfig, get_preset
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.ranking.plan import RankJob
from nasi_ray.run.process import EXIT_STATUSES
from nasi_ray.search.job import SearchJob


def parse_search(argv: Sequence[str]) -> SearchJob:
    """Read the search job's command line; precedence: default < preset < flag.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (which are told of).
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="auto")
    first.add_argument("--space", default=SampleConfig().space)
    chosen = first.parse_known_args(list(argv))[0]
    if chosen.preset not in (allowed := ["auto", *PRESETS]):
        raise UnknownNameError("preset", chosen.preset, allowed)
    preset = get_preset(_preset_of(chosen.space) if chosen.preset == "auto" else chosen.preset)
    job = tyro.cli(
        SearchJob,
        args=list(argv),
        description=f"{SearchJob.__doc__}\n\n{EXIT_STATUSES}",
        default=SearchJob(samples=preset.samples, estimate=preset.estimate),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if job.preset == "nasi-1shot1" and job.samples.space == "darts":
        raise ConfigError("preset nasi-1shot1 is for the spaces s1, s2 and s3; add --space s1")
    return job


def _preset_of(space: str) -> str:
    """The paper's setting for the paper's space, and the one settled on tables for the others."""
    return "nasi-fix" if space == "darts" else "nasi-ntk"


def parse_rank(argv: Sequence[str]) -> RankJob:
    """Read the ranking job's command line.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    return tyro.cli(
        RankJob,
        args=list(argv),
        description=f"{RankJob.__doc__}\n\n{EXIT_STATUSES}",
        config=(tyro.conf.OmitArgPrefixes,),
    )
