"""Completion scripts for shells, which tyro prints: ``nasi-ray --tyro-print-completion bash``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

from nasi_ray.cluster.tools import CLUSTER_TOOLS
from nasi_ray.describe.settings import DescribeJob
from nasi_ray.export.settings import ExportJob
from nasi_ray.pages.settings import ReportJob
from nasi_ray.ranking.settings import RankJob
from nasi_ray.replay.settings import ConfidenceJob, ReplayJob
from nasi_ray.search.settings import SearchJob
from nasi_ray.show import ShowJob
from nasi_ray.study.settings import STUDIES
from nasi_ray.sweep.settings import SweepJob
from nasi_ray.tables.settings import ConvertJob
from nasi_ray.training.settings import TrainJob
from nasi_ray.watch import WatchJob


@dataclass(frozen=True)
class _OwnOptions:
    """Reads its own options."""


def main(argv: Sequence[str]) -> int:
    """Handle tyro's own flags, ``--tyro-print-completion`` and ``--tyro-write-completion``."""
    studies = tyro.extras.subcommand_type_from_defaults({n: kind() for n, kind in STUDIES.items()})
    own = _OwnOptions()
    jobs: dict[str, Any] = {
        "search": SearchJob,
        "sweep": SweepJob,
        "rank": RankJob,
        "study": studies,
        "convert": ConvertJob,
        "train": TrainJob,
        "describe": DescribeJob,
        "export": ExportJob,
        "replay": ReplayJob,
        "confidence": ConfidenceJob,
        "show": ShowJob,
        "report": ReportJob,
        "watch": WatchJob,
        "cluster": tyro.extras.subcommand_type_from_defaults(dict.fromkeys(CLUSTER_TOOLS, own)),
        "version": _OwnOptions,
    }
    kinds: list[Any] = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in jobs.items()]
    options: Any = {"config": (tyro.conf.OmitArgPrefixes,)}
    tyro.cli(reduce(or_, kinds), prog="nasi-ray", args=list(argv), **options)
    return 0
