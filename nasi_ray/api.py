"""The jobs as functions. Quick to import: a function imports what it needs when it is called."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nasi_ray.errors import ConfigError
from nasi_ray.progress import Silent

if TYPE_CHECKING:
    from torch import nn

    from nasi_ray.data.sources import Source
    from nasi_ray.finalists.job import FinalistResult
    from nasi_ray.progress import Progress
    from nasi_ray.proxies.base import Proxy
    from nasi_ray.ranking.result import RankingResult
    from nasi_ray.replay.confidence import Confidence
    from nasi_ray.replay.job import Replay
    from nasi_ray.search.result import SearchResult
    from nasi_ray.search.run import Run
    from nasi_ray.spaces import Genotype
    from nasi_ray.spaces.base import SearchSpace
    from nasi_ray.study.outcome import StudyResult
    from nasi_ray.sweep.result import SweepResult
    from nasi_ray.training.result import TrainResult


def search(
    space: str = "darts", *, progress: Progress | Literal["auto"] | None = "auto", **settings: Any
) -> SearchResult:
    """Search a cell at initialization; an existing run is continued or answers at once.

    With workers, it uses the Ray that is already initialised, or connects to one, or starts one.
    Samples that are in the run directory are not evaluated again.

    Args:
        space: Name of the space: ``darts``, ``s1``, ``s2``, ``s3``, ``nb201``, or your own.
        progress: A display; "auto": a bar on a terminal, lines elsewhere; None: no display.
        settings: Any option of ``nasi-ray search``, with underscores: ``data``, ``seed``,
            ``num_samples``, ``nu``, ``num_workers``, ``out``, ``preset``, ...

    Returns:
        The cell, α* and the margin of each decision; the run directory holds the same.

    Raises:
        NasiRayError: If a name or value is not allowed, or data, storage or cluster fail; the
            message says what to do. What was computed is stored.

    Example:
        >>> import nasi_ray, tempfile
        >>> result = nasi_ray.search(
        ...     "s1", num_samples=4, batch_size=2, image_size=8, init_channels=2, num_workers=0,
        ...     out=tempfile.mkdtemp(), progress=None,
        ... )
        >>> result.num_samples
        4
        >>> sorted(result.margins)[:2]
        ['block1/op', 'block2/op']
    """
    from nasi_ray.search.job import run_search
    from nasi_ray.search.settings import make_search_job

    job = make_search_job({"space": space, **settings}, where="search()")
    _refuse_then_train(job.then_train)
    _refuse_finalists(job.final.finalists)
    with _display(progress) as display:
        return run_search(job, display)


def sweep(
    space: str = "darts", *, progress: Progress | Literal["auto"] | None = "auto", **settings: Any
) -> SweepResult:
    """Search with many seeds and settings side by side, and find the cell they agree on.

    Args:
        space: As for ``search``.
        progress: As for ``search``.
        settings: Any option of ``nasi-ray sweep``, with underscores: ``seeds`` (a number, a text
            such as ``"0:10"``, or several), ``set`` (texts such as ``"batch_size=16,64"``),
            ``data``, ``num_workers``, ``workers_per_search``, ``out``, ...

    Returns:
        Every search's result, and the consensus of the seeds.

    Raises:
        NasiRayError: As ``search``; a search that fails does not stop the others.

    Example:
        >>> import nasi_ray, tempfile
        >>> result = nasi_ray.sweep(
        ...     "s1", seeds=range(2), num_samples=4, batch_size=2, image_size=8, init_channels=2,
        ...     num_cells=3, num_workers=0, out=tempfile.mkdtemp(), progress=None,
        ... )
        >>> result.to_pandas()["seed"].tolist()
        [0, 1]
    """
    from nasi_ray.sweep.job import run_sweep
    from nasi_ray.sweep.settings import make_sweep_job

    if "seeds" in settings:
        settings["seeds"] = _listed(settings["seeds"])
    job = make_sweep_job({"space": space, **settings}, where="sweep()")
    _refuse_finalists(job.final.finalists)
    with _display(progress) as display:
        return run_sweep(job, display)


def finalists(
    space: str = "darts",
    count: int = 8,
    *,
    progress: Progress | Literal["auto"] | None = "auto",
    **settings: Any,
) -> FinalistResult:
    """Search, and compare the best cells by validation accuracy; the best of them is the answer.

    With ``seeds`` it is a sweep, and the cells are those of the best mean score over the seeds.

    Args:
        space: As for ``search``.
        count: How many cells are compared, 2 to 1000.
        progress: As for ``search``.
        settings: Any option of ``nasi-ray search``, or with ``seeds`` of ``nasi-ray sweep``, with
            underscores: ``finalists_table`` and ``finalists_metric`` (look the accuracies up),
            ``finalists_recipe`` (train them), ``data``, ``num_workers``, ``out``, ...

    Returns:
        The answer, every finalist with its accuracy in percent, and the results of the searches.

    Raises:
        NasiRayError: As ``search``; if every finalist failed, the first reason is named.

    Example:
        >>> found = nasi_ray.finalists("nb201", 5, finalists_table="tables")  # doctest: +SKIP
        >>> found.architecture, found.to_pandas()["valid_accuracy"]  # doctest: +SKIP
    """
    from nasi_ray.finalists.job import plan_finalists, run_finalists
    from nasi_ray.search.job import run_search
    from nasi_ray.search.settings import make_search_job
    from nasi_ray.sweep.job import run_sweep
    from nasi_ray.sweep.settings import make_sweep_job, only_search

    given = {"space": space, **settings, "finalists": count}
    if "seeds" in given:
        many = make_sweep_job({**given, "seeds": _listed(given["seeds"])}, where="finalists()")
        one = only_search(many)
        plan = plan_finalists(many.final, one.samples, one.estimate, one.compute, many.tracking)
    else:
        job = make_search_job(given, where="finalists()")
        _refuse_then_train(job.then_train)
        plan = plan_finalists(job.final, job.samples, job.estimate, job.compute, job.tracking)
    if plan is None:
        raise ConfigError(f"count is {count}; give 2 to 1000 cells to compare")
    with _display(progress) as display:
        if "seeds" in given:
            swept = run_sweep(many, display)
            good = [one for one in swept.searches[0] if one is not None]
            return run_finalists(plan, good, swept.uri, display)
        result = run_search(job, display)
        return run_finalists(plan, [result], result.uri, display)


def rank(
    space: str = "s1", *, progress: Progress | Literal["auto"] | None = "auto", **settings: Any
) -> RankingResult:
    """Rank architectures by training-free proxies, and compare with accuracies if given a table.

    Args:
        space: Name of a space that can be enumerated: ``s1``, ``s2``, ``s3``, ``nb201``, ...; or
            ``darts``, with ``architectures`` naming a file of cells.
        progress: As for ``search``.
        settings: Any option of ``nasi-ray rank``, with underscores: ``proxies``,
            ``architectures``, ``seeds``, ``table``, ``metric``, ``num_workers``, ``out``, ...

    Returns:
        Scores and, with a table, signed correlations.

    Raises:
        NasiRayError: As ``search``.

    Example:
        >>> import nasi_ray, tempfile
        >>> result = nasi_ray.rank(
        ...     "nb201", architectures="3", proxies=["naswot"], batch_size=4, image_size=8,
        ...     num_channels=2, num_workers=0, out=tempfile.mkdtemp(), progress=None,
        ... )
        >>> result.to_pandas().columns.tolist()
        ['architecture', 'num_params', 'multiply_adds', 'naswot']
    """
    from nasi_ray.ranking.job import run_rank
    from nasi_ray.ranking.settings import make_rank_job

    job = make_rank_job({"space": space, **settings}, where="rank()")
    with _display(progress) as display:
        return run_rank(job, display)


def study(
    name: str, *, progress: Progress | Literal["auto"] | None = "auto", **settings: Any
) -> StudyResult:
    """Test searches against a table of accuracies; ``docs/study.md`` explains each study.

    Args:
        name: ``agnostic``, ``effectiveness``, ``tradeoff``, ``table2``, ``cells`` or ``ablation``.
        progress: As for ``search``.
        settings: Any option of ``nasi-ray study NAME``, with underscores: ``seeds``, ``space``,
            ``table``, ``data``, ``num_samples``, ``num_workers``, ``out``, ...

    Returns:
        Every number, and the names of the files written.

    Raises:
        NasiRayError: As ``search``.
    """
    from nasi_ray.study.job import run_study
    from nasi_ray.study.settings import make_study

    job = make_study(name, settings, where="study()")
    with _display(progress) as display:
        return run_study(job, display, command=f"nasi_ray.study({name!r}, ...)")


def train(
    genotype: str | os.PathLike[str] | Genotype | None = None,
    *,
    progress: Progress | Literal["auto"] | None = "auto",
    **settings: Any,
) -> TrainResult:
    """Train the network of a cell; an existing training is continued or answers at once.

    Args:
        genotype: A DARTS cell: an object, its text, a file, or the run directory of a search; None:
            ``space`` and ``architecture`` name another.
        progress: As for ``search``.
        settings: Any option of ``nasi-ray train``, with underscores: ``recipe``, ``data``,
            ``epochs``, ``num_workers``, ``out``, ...

    Returns:
        Accuracies and the network; the run directory holds the same.

    Raises:
        NasiRayError: As ``search``.

    Example:
        >>> import nasi_ray, tempfile
        >>> result = nasi_ray.train(
        ...     space="nb201", architecture="|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|"
        ...     "skip_connect~2|", recipe="quick", image_size=8, init_channels=2, epochs=1,
        ...     num_train_images=32, batch_size=16, num_workers=0, out=tempfile.mkdtemp(),
        ...     progress=None,
        ... )
        >>> 0 <= result.top1 <= 100
        True
    """
    from nasi_ray.training.job import run_train
    from nasi_ray.training.settings import make_train_job

    job = make_train_job({"genotype": _genotype_text(genotype), **settings}, where="train()")
    if job.subject.genotypes is not None:
        raise ConfigError(
            "genotypes works only with the command nasi-ray train; in Python call nasi_ray.train "
            "for each cell"
        )
    with _display(progress) as display:
        return run_train(job, display)


def load_model(uri: str) -> nn.Module:
    """The network of a training that has ended, in evaluation mode, on the CPU.

    Args:
        uri: Run directory of the training, a path or ``s3://bucket/prefix``. Images are normalised
            as its ``model.json`` says.

    Raises:
        DataError: If there is no model, or a broken one.
        StorageError: If the storage fails.
    """
    from nasi_ray.storage import open_storage
    from nasi_ray.training.model import load_model as load

    return load(open_storage(uri))[0]


def open_run(uri: str) -> Run:
    """Open the records of a search, to see what other settings of the estimate give.

    Args:
        uri: Run directory, a path or ``s3://bucket/prefix``; a search may be writing to it.

    Raises:
        RecordConflictError: If the directory does not hold a search.
        RecordCorruptError: If a record file is torn or was altered.
        StorageError: If the storage fails.

    Example:
        >>> run = nasi_ray.open_run("runs/cifar10")  # doctest: +SKIP
        >>> run.cell(nu=50.0)  # doctest: +SKIP
    """
    from nasi_ray.search.run import Run

    return Run.open(uri)


def report(uri: str, *more: str, out: str | None = None, figures: str | None = None) -> str:
    """Write a page about searches, sweeps, studies, rankings and trainings: one HTML file.

    Args:
        uri: Run directory, a path or ``s3://bucket/prefix``.
        more: Other run directories, which the page describes below the first.
        out: The page, ending in ``.html``; None: ``report.html`` in the first run directory.
        figures: Directory for each figure as SVG and PNG; None: none is written.

    Returns:
        Where the page is.

    Raises:
        RecordConflictError: If a directory holds nothing to report.
        NasiRayError: If a name is not allowed, or the storage fails.
    """
    from nasi_ray.pages.job import run_report
    from nasi_ray.pages.settings import ReportJob

    return run_report(ReportJob(runs=(uri, *more), out=out, figures=figures))[0]


def replay(
    runs: str | Sequence[str],
    grid: Mapping[str, Sequence[Any]],
    *,
    table: str = "",
    metric: str = "",
    out: str = "",
) -> Replay:
    """The cell of every setting of a grid, from stored records; nothing is evaluated.

    Args:
        runs: Run directories of searches of one space.
        grid: Name of a setting of the estimate (``EstimateConfig``) -> values; all combinations
            are taken. All other settings are as for ``Run.result``.
        table: Table of accuracies, or the directory of tables; adds the errors of the cells.
        metric: Column of the table.
        out: Directory for ``replay.json``, ``replay.csv`` and a map of ν and μ; empty: none.

    Raises:
        NasiRayError: If a name or value is not allowed, the records do not answer it, or a run or
            table cannot be read.

    Example:
        >>> found = nasi_ray.replay("runs/s1", {"mu": [0, 1, 2]})  # doctest: +SKIP
        >>> found.cells, found.to_pandas()  # doctest: +SKIP
    """
    from nasi_ray.replay.grid import check_grid
    from nasi_ray.replay.job import run_replay

    uris = [runs] if isinstance(runs, str) else list(runs)
    return run_replay(uris, check_grid(grid), table=table, metric=metric, out=out)


def confidence(runs: str | Sequence[str], **estimate: Any) -> Confidence:
    """How sure the cell of one or more runs is, and what they select together.

    Args:
        runs: Run directories of searches of one space.
        estimate: Settings of the estimate, as for ``Run.result``.

    Returns:
        Of every run: the probability that each decision stands, its runner-up, and since when the
        cell is unchanged; and the consensus with its votes.

    Raises:
        NasiRayError: As ``replay``.

    Example:
        >>> found = nasi_ray.confidence(["runs/s1-0", "runs/s1-1"])  # doctest: +SKIP
        >>> found.consensus.architecture, found.consensus.votes  # doctest: +SKIP
    """
    from nasi_ray.replay.confidence import confidence_of
    from nasi_ray.replay.grid import check_grid, points_of

    uris = [runs] if isinstance(runs, str) else list(runs)
    given = {name: (value,) for name, value in estimate.items()}
    return confidence_of(uris, points_of(check_grid(given))[0] if given else {})


def add_space(space: SearchSpace) -> None:
    """Add your own space under its name, in this process and on the workers of later runs.

    An installed package uses an entry point instead (``docs/extending.md``).

    Raises:
        ConfigError: If nasi_ray has a space of that name.
    """
    from nasi_ray.spaces import SPACES

    SPACES.add(space.name, space)


def add_proxy(proxy: Proxy) -> None:
    """Add your own proxy under its name; see ``add_space``.

    Raises:
        ConfigError: If nasi_ray has a proxy of that name.
    """
    from nasi_ray.proxies import PROXIES

    PROXIES.add(proxy.name, proxy)


def add_data_source(name: str, source: Source) -> None:
    """Add your own data set under a name that ``data`` then accepts; see ``add_space``.

    Raises:
        ConfigError: If nasi_ray has a data source of that name.
    """
    from nasi_ray.data.sources import SOURCES

    SOURCES.add(name, source)


def _refuse_then_train(recipe: str) -> None:
    if recipe:
        raise ConfigError(
            f"then_train is {recipe!r}, which works only with the command nasi-ray search; in "
            "Python call nasi_ray.train(result.uri, ...) with the result of the search"
        )


def _genotype_text(genotype: object) -> str | None:
    from nasi_ray.spaces import Genotype

    if genotype is None or isinstance(genotype, str):
        return genotype
    if isinstance(genotype, os.PathLike):
        return str(os.fspath(genotype))
    if isinstance(genotype, Genotype):
        return genotype.to_json()
    to_string = getattr(genotype, "to_string", None)
    example = f", architecture={to_string()!r}" if callable(to_string) else ""
    raise ConfigError(
        f"genotype is of type {type(genotype).__name__}; give a DARTS cell, its text, a file or a "
        f"run directory, or for another space: train(space=...{example})"
    )


def _listed(seeds: Any) -> list[Any]:
    """Seeds as the command line has them; a text is not a list of characters."""
    if isinstance(seeds, str | int):
        return [seeds]
    try:
        return list(seeds)
    except TypeError:
        raise ConfigError(f"seeds is {seeds!r}; give numbers, or texts such as '0:10'") from None


def _refuse_finalists(count: int) -> None:
    if count:
        raise ConfigError(
            f"finalists is {count}, which works only with a command; in Python call "
            "nasi_ray.finalists(...)"
        )


@contextlib.contextmanager
def _display(progress: Progress | Literal["auto"] | None) -> Iterator[Progress]:
    if progress is None:
        yield Silent()
    elif isinstance(progress, str):
        from nasi_ray.display.progress import make_progress

        with contextlib.closing(make_progress(sys.stderr)) as display:
            yield display
    else:
        yield progress
