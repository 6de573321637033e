"""The conversion job: from a benchmark's official files to Parquet tables, and their summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nasi_ray.display.formats import printable
from nasi_ray.errors import ConfigError, DataError, SearchStoppedError
from nasi_ray.progress import LoopProgress, Progress
from nasi_ray.run.plan import refuse_lost_place
from nasi_ray.spaces.nb1shot1 import S1, S2, S3
from nasi_ray.tables.nasbench101 import convert_nasbench101
from nasi_ray.tables.natsbench import convert_natsbench
from nasi_ray.tables.nb1shot1 import convert_nb1shot1
from nasi_ray.tables.settings import ConvertJob, NASBench101Job, NASBench201Job, ShowJob
from nasi_ray.tables.tabular import TabularBenchmark
from nasi_ray.tables.text import plural_large, table_lines

_SPACES = {space.name: space for space in (S1, S2, S3)}


def run_convert(job: ConvertJob, progress: Progress) -> list[str]:
    """Convert a benchmark's files, or describe a table.

    Args:
        job: Settings.
        progress: Display; not closed here.

    Returns:
        Lines that describe the tables.

    Raises:
        NasiRayError: For every failure that a user can cause. No table is left half written.
    """
    if isinstance(job, ShowJob):
        return table_lines(TabularBenchmark.open(job.table))
    refuse_lost_place("target", job.target)
    written: list[Path] = []
    with _stopping(written):
        if isinstance(job, NASBench201Job):
            progress.message(f"opening {job.source}")
            on_progress = LoopProgress(progress, unit="architectures", title=Path(job.source).name)
            convert_natsbench(job.source, job.target, on_progress=on_progress)
            written.append(Path(job.target))
        else:
            _convert_nasbench101(job, progress, written)
        lines = []
        for path in written:
            lines += [*table_lines(TabularBenchmark.open(path)), ""]
    return [*lines, *(printable(f"written: {path.absolute()}") for path in written)]


def _convert_nasbench101(job: NASBench101Job, progress: Progress, written: list[Path]) -> None:
    for path in job.space_targets.values():
        if path.resolve() in (Path(job.target).resolve(), Path(job.source).resolve()):
            raise ConfigError(
                f"{path} would be overwritten by the space's table; give another source or target"
            )
    on_progress = LoopProgress(progress, unit="bytes", title=Path(job.source).name)
    convert_nasbench101(job.source, job.target, on_progress=on_progress)
    written.append(Path(job.target))
    for name, path in job.space_targets.items():
        space = _SPACES[name]
        progress.message(
            f"{name}: joining {plural_large(space.num_architectures, 'configuration')}"
        )
        try:
            convert_nb1shot1(job.target, path, space)
        except DataError as error:
            done = ", ".join(map(str, written))
            raise DataError(f"{error}; complete: {done}") from error
        written.append(path)


@contextmanager
def _stopping(written: Sequence[Path]) -> Iterator[None]:
    """At Ctrl-C, say which tables are complete."""
    try:
        yield
    except KeyboardInterrupt:
        done = ", ".join(map(str, written))
        kept = f"complete: {done}; all else is" if done else "all is"
        raise SearchStoppedError(
            f"stopped; {kept} unchanged: run the same command again to start over"
        ) from None
