"""The finalists of a search or a sweep: which cells, how good they are, and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.errors import ConfigError, TrainingError
from nasi_ray.finalists.cells import Finalist, best_cells, refuse_too_many
from nasi_ray.finalists.outcome import Outcome, best_of
from nasi_ray.finalists.table import look_up, open_validation
from nasi_ray.progress import Progress
from nasi_ray.run.finish import to_json, write_results
from nasi_ray.run.provenance import versions
from nasi_ray.run.tracking import TrackConfig, Tracking
from nasi_ray.search.cell_plot import save_architecture_plot
from nasi_ray.search.result import SearchResult
from nasi_ray.search.settings import FinalistConfig
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.spaces.base import Architecture, TabularSpace
from nasi_ray.storage import open_storage
from nasi_ray.tables.accuracies import Accuracies
from nasi_ray.training.recipes import RECIPES
from nasi_ray.training.settings import refuse_unknown_recipe

if TYPE_CHECKING:
    import pandas

SCHEMA = "nasi_ray.finalists/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalistPlan:
    """How finalists are to be compared; nothing has started yet."""

    final: FinalistConfig
    samples: SampleConfig
    """Of the search: its space, and the data that finalists are trained on."""
    estimate: EstimateConfig
    compute: ComputeSettings
    """Of the search; trainings run side by side on as many workers."""
    accuracies: Accuracies | None
    """The table and column to look up; None: the finalists are trained."""
    tracking: TrackConfig
    """Who is told of their trainings."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class FinalistResult:
    """The finalists and the answer."""

    content: Mapping[str, Any]
    """The content of ``finalists.json`` (``docs/finalists.md``)."""
    uri: str
    """The run directory of the search or sweep."""
    architecture: Architecture
    """The best by validation accuracy."""
    files: tuple[str, ...]
    """Names of the files written into the run directory."""
    searches: Sequence[SearchResult]
    """The search, or those of a sweep's seeds; ``searches[0].architecture`` is a search's own."""

    def __repr__(self) -> str:
        content = self.content
        which = f"number {content['answer']} of {content['finalists']}"
        return f"FinalistResult({content['space']!r}, {which}, {self.uri!r})"

    def to_dict(self) -> dict[str, Any]:
        """The content of ``finalists.json``."""
        return dict(self.content)

    def to_pandas(self) -> pandas.DataFrame:
        """A row per finalist: rank, score, cell, validation accuracy in percent, epochs."""
        import pandas  # takes a second to import

        return pandas.DataFrame(self.content["cells"])

    def _repr_svg_(self) -> str | None:
        """The picture of the answer, for notebooks; None for cells that are not drawn."""
        draw = getattr(self.architecture, "_repr_svg_", None)
        return None if draw is None else str(draw())

    @property
    def num_failed(self) -> int:
        """Trainings that failed."""
        return sum("failure" in cell for cell in self.content["cells"])


def plan_finalists(
    final: FinalistConfig,
    samples: SampleConfig,
    estimate: EstimateConfig,
    compute: ComputeSettings,
    tracking: TrackConfig,
) -> FinalistPlan | None:
    """Refuse what cannot be, before a search begins.

    Returns:
        None if no finalists are asked for.

    Raises:
        ConfigError: If the space has fewer cells, or they cannot be trained as asked.
        UnknownNameError: If the recipe, space or metric is not known.
        DataError: If the table has no such validation accuracy.
    """
    if not final.finalists:
        return None
    space, accuracies = get_space(samples.space), None
    refuse_too_many(final.finalists, space)
    if final.finalists_table:
        accuracies = open_validation(space.name, final.finalists_table, final.finalists_metric)
    else:
        refuse_unknown_recipe(final.finalists_recipe)
        network = RECIPES[final.finalists_recipe].network
        if samples.data == "random":
            raise ConfigError(
                "data is 'random', but finalists are compared by accuracy, which means nothing on "
                "random data; give --data with a data set, or --finalists-table with a table"
            )
        if space.name != "darts" and (network == "imagenet" or not isinstance(space, TabularSpace)):
            raise ConfigError(
                f"recipe {final.finalists_recipe} has no network for cells of {space.name}; give "
                "another --finalists-recipe, or --finalists-table with a table"
            )
    return FinalistPlan(
        final=final,
        samples=samples,
        estimate=estimate,
        compute=compute,
        accuracies=accuracies,
        tracking=tracking,
    )


def run_finalists(
    plan: FinalistPlan, results: Sequence[SearchResult], uri: str, progress: Progress
) -> FinalistResult:
    """Compare the best cells of a search, or of the mean score of several.

    Args:
        plan: What ``plan_finalists`` returned.
        results: Of the search, or of every seed of a sweep (at least one).
        uri: Run directory of the search or sweep; finalists are trained below ``finalists/``.
        progress: Display; not closed here.

    Returns:
        The finalists. ``finalists.json`` and the files of the answer are written.

    Raises:
        SearchStoppedError: On Ctrl-C and SIGTERM; what was trained is kept.
        TrainingError: If every training failed; the first reason is named.
        NasiRayError: For failures that concern all finalists. One that fails does not stop others.
    """
    space = get_space(plan.samples.space)
    estimates = [result.estimate for result in results]
    cells = best_cells(estimates, space, plan.estimate, plan.final.finalists)
    outcomes, about = _compare(plan, cells, uri, progress)
    answer = best_of(outcomes)
    if answer is None:
        reasons = [str(one.failure) for one in outcomes if one.failure is not None]
        raise TrainingError(f"every finalist failed, the first one with: {reasons[0]}")
    content = {
        "schema": SCHEMA,
        "space": space.name,
        "finalists": len(cells),
        **about,
        "answer": cells[answer].rank,
        **cells[answer].architecture.fields(),
        "cells": [
            {
                "rank": cell.rank,
                "score": cell.score,
                **cell.architecture.fields(),
                **outcome.to_dict(),
            }
            for cell, outcome in zip(cells, outcomes, strict=True)
        ],
        "search_seconds": sum(result.content["sample_seconds"] for result in results),
        "finalist_seconds": sum(outcome.seconds for outcome in outcomes),
        "versions": versions(),
    }
    files = _files(content, cells[answer])
    result = FinalistResult(
        content=content,
        uri=uri,
        architecture=cells[answer].architecture,
        files=tuple(files),
        searches=tuple(results),
    )
    write_results(open_storage(uri), files, label="trainings", result=result)
    return result


def _compare(
    plan: FinalistPlan, cells: Sequence[Finalist], uri: str, progress: Progress
) -> tuple[list[Outcome], dict[str, Any]]:
    """How good each cell is, and by what that was found."""
    if plan.accuracies is None:
        # timm and Ray Tune take two seconds to import, which every search would wait for.
        from nasi_ray.finalists.training import HOLDOUT, train_finalists

        recipe = plan.final.finalists_recipe
        with Tracking(plan.tracking, progress) as told:
            trained = train_finalists(
                cells, recipe, plan.samples, plan.compute, uri, progress, told
            )
        return trained, {"recipe": recipe, "holdout": HOLDOUT}
    metric = plan.accuracies.metric
    found: list[Any] = [cell.architecture for cell in cells]
    values, epochs = look_up(plan.accuracies, found), metric.epochs
    outcomes = [Outcome(valid_accuracy=value, epochs=epochs) for value in values]
    return outcomes, {"table": plan.accuracies.benchmark.name, "metric": metric.column}


def _files(content: Mapping[str, Any], answer: Finalist) -> dict[str, bytes]:
    architecture = answer.architecture
    title = f"finalist on {content['space']}: best of {content['finalists']} by validation accuracy"
    drawn = save_architecture_plot(architecture, title=title) or {}
    files = {f"finalist.{kind}": data for kind, data in drawn.items()}
    if isinstance(architecture, Genotype):
        files["finalist-genotype.json"] = architecture.to_json().encode()
    # Last: who reads it finds the rest.
    return {**files, "finalists.json": to_json(content)}
