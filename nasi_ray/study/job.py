"""The study job: searches on spaces with a table of accuracies -> figures, tables and numbers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from nasi_ray.progress import Progress
from nasi_ray.run.plan import settle_uri
from nasi_ray.run.provenance import machine, versions
from nasi_ray.run.settings import settings_yaml
from nasi_ray.storage import open_storage
from nasi_ray.study import ablation, agnosticism, cells, effectiveness, presets, table2, tradeoff
from nasi_ray.study.outcome import Outcome, StudyResult, about_runs, write_outcome
from nasi_ray.study.searches import RunSource, run_source
from nasi_ray.study.settings import (
    STUDIES,
    AblationStudy,
    AgnosticStudy,
    CellsStudy,
    EffectivenessStudy,
    PresetsStudy,
    Study,
    Table2Study,
    TradeoffStudy,
)

RUN: dict[type[Study], Callable[[Any, RunSource], Outcome]] = {
    AgnosticStudy: agnosticism.run,
    EffectivenessStudy: effectiveness.run,
    TradeoffStudy: tradeoff.run,
    Table2Study: table2.run,
    CellsStudy: cells.run,
    AblationStudy: ablation.run,
    PresetsStudy: presets.run,
}
"""Settings of a study -> what runs it."""


def run_study(study: Study, progress: Progress, *, command: str) -> StudyResult:
    """Run, continue or replay the searches of a study, analyse them, and write the outcome.

    Args:
        study: Settings.
        progress: Display; not closed here.
        command: The command line, for the record.

    Returns:
        Every number, and the files written.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    start = time.perf_counter()
    out = open_storage(settle_uri(study.settings.out)).uri
    study = dataclasses.replace(study, settings=dataclasses.replace(study.settings, out=out))
    with run_source(study.settings, progress) as source:
        outcome = RUN[type(study)](study, source)
        about = {
            "settings": dataclasses.asdict(study),
            "command": command,
            "seeds": study.settings.seeds,
            "metrics": dict(outcome.metrics),
            "versions": versions(),
            "machine": machine(),
            "seconds": time.perf_counter() - start,
            **about_runs(source),
        }
    name = next(name for name, kind in STUDIES.items() if type(study) is kind)
    return write_outcome(
        outcome, study.settings, about, config=settings_yaml(study, f"study {name}")
    )
