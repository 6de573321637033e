"""The report: from run directories to one page, and its figures as files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasi_ray.display.formats import one_line
from nasi_ray.errors import RecordConflictError, RecordCorruptError, StorageError
from nasi_ray.pages.blocks import Figure, Part
from nasi_ray.pages.files import read_result
from nasi_ray.pages.settings import ReportJob
from nasi_ray.run.plan import settle_beside, settle_uri
from nasi_ray.run.schemas import RANKING_SCHEMA, RESULT_SCHEMA, SWEEP_SCHEMA, TRAINING_SCHEMA
from nasi_ray.storage import Storage, open_storage
from nasi_ray.training.settings import ACCURACIES


def run_report(job: ReportJob) -> list[str]:
    """Write the page.

    Args:
        job: Settings.

    Returns:
        Addresses of the files written, the page first.

    Raises:
        ConfigError: If what is written would be lost (``settle_uri``).
        RecordConflictError: If a directory holds nothing to report.
        RecordCorruptError: If its result cannot be read.
        NasiRayError: If the storage fails. What else is missing is said on the page.
    """
    from nasi_ray.pages.html import to_html  # starts a JavaScript engine

    folder, _, name = settle_beside(job.out, job.target).rpartition("/")
    drawn = None if job.figures is None else open_storage(settle_uri(job.figures))
    parts = [part for uri in job.runs for part in parts_of(uri, data=job.data)]
    target = open_storage(folder or ".")
    target.write(name, to_html(parts))
    files = [f"{target.uri}/{name}"]
    if drawn is not None:
        files += _write_figures(parts, drawn)
    return files


def parts_of(uri: str, *, data: str | None = None) -> list[Part]:
    """What a run directory holds.

    Args:
        uri: Of a search, sweep, study, ranking, training or list of trainings; a training below a
            search is added to it.
        data: Where the images are now, if they have moved.

    Raises:
        RecordConflictError: If it holds nothing to report.
        RecordCorruptError: If its result cannot be read.
        StorageError: If the storage fails.
    """
    storage = open_storage(uri)
    try:
        return _parts_in(storage, data)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RecordCorruptError(
            f"the result in {storage.uri} was changed, or another version wrote it "
            f"({type(error).__name__}: {one_line(str(error))}); delete it and run the command that "
            "wrote it again"
        ) from error


def _parts_in(storage: Storage, data: str | None) -> list[Part]:
    from nasi_ray.pages.study import study_parts
    from nasi_ray.pages.sweep import sweep_parts

    sweep = read_result(storage, "sweep.json", SWEEP_SCHEMA)
    if sweep is not None:
        return sweep_parts(storage, sweep, data=data)
    result = read_result(storage, "result.json", RESULT_SCHEMA, TRAINING_SCHEMA)
    if result is not None:
        return _of_result(storage, result, data)
    if storage.list("metrics.parquet"):
        from nasi_ray.pages.training import train_part

        return [train_part(storage, None, data=data)]
    if (ranking := read_result(storage, "ranking.json", RANKING_SCHEMA)) is not None:
        from nasi_ray.pages.ranking import ranking_part

        return [ranking_part(storage, ranking)]
    if storage.list(ACCURACIES):
        from nasi_ray.pages.trainings import trainings_part

        return [trainings_part(storage)]
    parts = study_parts(storage)
    if not parts:
        raise RecordConflictError(
            f"{storage.uri} has nothing to report; name the --out of a search, sweep, study, "
            "ranking, training or list of trainings that is done"
        )
    return parts


def _of_result(storage: Storage, result: dict[str, Any], data: str | None) -> list[Part]:
    from nasi_ray.pages.search import search_part
    from nasi_ray.pages.training import train_part

    if result["schema"] == TRAINING_SCHEMA:
        return [train_part(storage, result, data=data)]
    parts = [search_part(storage, result, data=data)]
    below = open_storage(f"{storage.uri}/train")
    trained = read_result(below, "result.json", TRAINING_SCHEMA)
    if trained is None:
        return parts
    return [*parts, train_part(below, trained, has_data=False)]


def _write_figures(parts: Sequence[Part], storage: Storage) -> list[str]:
    from vl_convert import vegalite_to_png, vegalite_to_svg

    from nasi_ray.pages.specs import still

    names = []
    for number, part in enumerate(parts, start=1):
        blocks = [block for section in part.sections for block in section.blocks]
        for figure in (block for block in blocks if isinstance(block, Figure)):
            spec = still(figure.spec, figure.max_width or 640)
            name = figure.name if len(parts) == 1 else f"{number}-{figure.name}"
            try:
                storage.write(f"{name}.svg", vegalite_to_svg(spec).encode())
                storage.write(f"{name}.png", vegalite_to_png(spec, scale=2))
            except ValueError as error:
                raise StorageError(f"figure {name} cannot be drawn: {error}") from None
            names.append(f"{storage.uri}/{name}.svg, .png")
    return names
