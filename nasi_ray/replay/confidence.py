"""How sure the cell of one or more runs is: ``nasi-ray confidence``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasi_ray.config import EstimateConfig
from nasi_ray.display.formats import plural, printable, wrapped
from nasi_ray.display.tables import text_table
from nasi_ray.nasi.confidence import runners_up, unchanged_since
from nasi_ray.nasi.consensus import Consensus, consensus_of
from nasi_ray.nasi.estimates import make_estimate, refuse_impossible
from nasi_ray.nasi.estimator import Estimate, first_choices, margins
from nasi_ray.replay.grid import configs_of
from nasi_ray.replay.job import common_config, open_runs
from nasi_ray.search.run import Run
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace

NUM_DRAWS = 1000
"""Bootstrap draws of each run's samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfidence:
    """How sure one run is."""

    estimate: Estimate
    """With 1,000 draws."""
    probabilities: Mapping[str, float]
    """Decision -> how likely another seed makes the same first choice, in [0, 1]."""
    runners_up: Mapping[str, tuple[int, ...]]
    """Decision -> the candidates that most likely replace it."""
    unchanged_since: int
    """The number of samples from which on no checkpoint selects another cell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """How sure several runs are, and what they select together."""

    space: SearchSpace
    config: EstimateConfig
    runs: tuple[RunConfidence, ...]
    """In the order given."""
    consensus: Consensus


def confidence_of(uris: Sequence[str], settings: Mapping[str, Any]) -> Confidence:
    """Judge runs by their records.

    Args:
        uris: Run directories of searches of one space (at least one).
        settings: Of the estimate, checked; the others as for ``Run.result``.

    Raises:
        ConfigError: If the runs do not answer the settings, or are of several spaces.
        NasiRayError: If a run cannot be read, or has no good sample.
    """
    runs = open_runs(uris)
    space = get_space(runs[0].space)
    (config,) = configs_of([settings], lambda deciding: common_config(runs, deciding))
    for run in runs:
        refuse_impossible(space, config, sample_per=str(run.settings["sample_per"]))
        run.check(config)
    found = tuple(_judge(run, space, config) for run in runs)
    together = consensus_of([one.estimate for one in found], space, config)
    return Confidence(space=space, config=config, runs=found, consensus=together)


def _judge(run: Run, space: SearchSpace, config: EstimateConfig) -> RunConfidence:
    result = make_estimate(run.records, space, config, run.settings, num_draws=NUM_DRAWS)
    return RunConfidence(
        estimate=result,
        probabilities={name: m.probability for name, m in margins(result, space).items()},
        runners_up=runners_up(result, space),
        unchanged_since=unchanged_since(run.records, space, config, run.settings),
    )


def confidence_lines(found: Confidence) -> list[str]:
    """The table of the decisions, in lines of at most 80 columns (a cell may be longer)."""
    config, num = found.config, len(found.runs)
    since = [run.unchanged_since for run in found.runs]
    lines = wrapped(
        f"{found.space.name}: {plural(num, 'run')} of {plural(config.num_samples, 'sample')}, "
        f"objective {config.objective}, estimator {config.estimator}"
    )
    rows = _rows(found)
    headings = ["decision", "choice", "runner-up", "stands"]
    lines += ["", *text_table([*headings, *(["votes", "over seeds"] if num > 1 else [])], rows), ""]
    entries = {
        "runner-up": "what most likely replaces the choice",
        "stands": "how likely another seed makes the same choice, by bootstrap of the samples"
        + ("; mean over the runs of each run's probability for its own choice" if num > 1 else ""),
    }
    if num > 1:
        entries["votes"] = "runs that make this choice on their own"
        entries["over seeds"] = f"how likely {num} other seeds choose the same together"
    for name, meaning in entries.items():
        lines += wrapped(f"{name}: {meaning}", hanging="    ")
    at = str(since[0]) if num == 1 else f"{min(since)} to {max(since)}"
    lines += wrapped(
        f"The cell of a run no longer changes after {at} samples (of the numbers that were "
        "checked)."
    )
    cell = found.consensus.architecture.to_string()
    title = "consensus: the cell with the best mean score" if num > 1 else "cell"
    return [*lines, "", f"{title}:", printable(cell)]


def _rows(found: Confidence) -> list[tuple[str, ...]]:
    num, result = len(found.runs), found.consensus.estimate
    chosen = first_choices(result.alpha, found.space)
    source = found.runs[0].runners_up if num == 1 else runners_up(result, found.space)
    over_seeds = margins(result, found.space)
    decisions = {decision.name: decision for decision in found.space.decisions}
    rows = []
    for name, taken in chosen.items():
        names = decisions[name].candidates
        said = sum(run.probabilities[name] for run in found.runs) / num
        more = (f"{found.consensus.votes[name]} of {num}", _percent(over_seeds[name].probability))
        rows.append(
            (
                name,
                ", ".join(names[i] for i in taken),
                ", ".join(names[i] for i in source[name]),
                _percent(said),
                *(more if num > 1 else ()),
            )
        )
    return rows


def _percent(share: float) -> str:
    return "?" if math.isnan(share) else f"{math.floor(100 * share + 1e-9)} %"
