"""What a study came to, and the files it becomes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from nasi_ray.display.figures import render
from nasi_ray.display.formats import plural
from nasi_ray.display.tables import markdown_table
from nasi_ray.run.finish import write_results
from nasi_ray.run.schemas import STUDY_SCHEMA
from nasi_ray.storage import open_storage
from nasi_ray.study.searches import RunSource
from nasi_ray.study.settings import Mode, StudySettings
from nasi_ray.study.text import MODE_NAMES, jsonable


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A study's numbers, figures and text."""

    name: str
    """Of its files, without the ending."""
    title: str
    result: Mapping[str, Any]
    """Every number, as ``jsonable`` takes them."""
    lines: Sequence[str]
    """Markdown."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Space -> what its errors are: data set, split, schedule, trials."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """Name of the files, without the ending -> figure."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class StudyResult:
    """A finished study."""

    content: Mapping[str, Any]
    """The content of its JSON file: ``settings``, ``runs``, ``result`` and more."""
    uri: str
    """Where the files are: an absolute path or ``s3://bucket/prefix``."""
    files: tuple[str, ...]
    """Names of the files written."""

    def __repr__(self) -> str:
        return f"StudyResult({', '.join(self.files)}, {self.uri!r})"


def describe_settings(settings: StudySettings, mode: Mode | None = None, prefix: str = "") -> str:
    """A figure's title: the space, the data mode, and what the samples are made with."""
    samples, estimate = settings.samples, settings.estimate
    where = samples.space if mode is None else f"{samples.space}, {MODE_NAMES[mode]}"
    cells = "" if samples.num_cells == "auto" else f", {plural(samples.num_cells, 'cell')}"
    return (
        f"{where}: {prefix}T = {estimate.num_samples}, b = {samples.batch_size}, "
        f"C = {samples.init_channels}{cells}, {samples.init} init"
    )


def write_outcome(
    outcome: Outcome, settings: StudySettings, about: Mapping[str, Any], *, config: bytes
) -> StudyResult:
    """Write a study's files.

    Args:
        outcome: What it came to.
        settings: Where to.
        about: What else the JSON file says: command, settings, versions, …
        config: The settings as a file for ``--config``.

    Returns:
        Every number, and the files written.

    Raises:
        StorageError: If one cannot be written; says that the records are stored.
    """
    content = jsonable({"schema": STUDY_SCHEMA, **about, "result": outcome.result})
    files: dict[str, bytes] = {}
    for name, figure in outcome.figures.items():
        files |= {f"{name}.{kind}": data for kind, data in render(figure).items()}
    text = "\n".join([*_head(outcome, about), *outcome.lines, "", *_foot(settings, about)])
    files[f"{outcome.name}.md"] = text.encode() + b"\n"
    files[f"{outcome.name}.json"] = json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"
    files[f"{outcome.name}.yaml"] = config
    storage = open_storage(settings.out)
    write_results(storage, files, label="samples")
    return StudyResult(content=content, uri=storage.uri, files=tuple(files))


def about_runs(source: RunSource) -> dict[str, Any]:
    """What was evaluated: runs, the time their samples took, and how many were lost."""
    return {
        "runs": source.runs,
        "sample_seconds": sum(run["sample_seconds"] for run in source.runs),
        "num_lost": sum(len(run["lost"]) for run in source.runs),
    }


def _head(outcome: Outcome, about: Mapping[str, Any]) -> list[str]:
    metrics = [f"- Errors of {space}: {metric}." for space, metric in outcome.metrics.items()]
    figures = [line for name in outcome.figures for line in (f"![{name}]({name}.svg)", "")]
    return [f"# {outcome.title}", "", f"    {about['command']}", "", *metrics, "", *figures]


def _foot(settings: StudySettings, about: Mapping[str, Any]) -> list[str]:
    changed = {**_values(settings.samples, "seed", "labels"), **_values(settings.estimate)}
    kinds = {run["samples"].get("device", "not known") for run in about["runs"]}
    num_failed = sum(run["num_failed"] for run in about["runs"])
    programs = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lost = (
        f", of which {about['num_lost']} because every attempt to evaluate them failed (run the "
        "same command again to retry)"
    )
    computer = about["machine"]
    return [
        "## How it was made",
        "",
        f"- Seeds: {', '.join(map(str, settings.seeds))}. Runs: {len(about['runs'])}, "
        f"samples left out: {num_failed}{lost if about['num_lost'] else ''}.",
        f"- Time of this command: {about['seconds']:.0f} s; of evaluating the samples it used, "
        f"added up over workers: {about['sample_seconds']:.0f} s.",
        f"- Evaluated on: {', '.join(sorted(kinds))}. Driver: {computer['processor']}, "
        f"{computer['num_cpus']} CPUs, {computer['system']}.",
        f"- Versions: {programs}.",
        "",
        *markdown_table(("setting", "value"), changed.items()),
    ]


def _values(config: Any, *left_out: str) -> dict[str, str]:
    return {
        f"`{name}`": str(value)
        for name, value in dataclasses.asdict(config).items()
        if name not in left_out
    }
