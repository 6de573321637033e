"""The command ``nasi-ray``: one subcommand per job. Parsing imports neither torch nor Ray.

``jobs/*.py`` call the same code, for ``ray job submit -- python jobs/search.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import platform
import shlex
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

from nasi_ray.display.formats import escaped, escaped_lines, one_line, plural
from nasi_ray.errors import UnknownNameError
from nasi_ray.files import user_path
from nasi_ray.run.process import (
    EXIT_ERROR,
    EXIT_INCOMPLETE,
    EXIT_STATUSES,
    reporting_errors,
    stopping_once,
)
from nasi_ray.run.supervise import supervised
from nasi_ray.version import __version__

if TYPE_CHECKING:
    from nasi_ray.finalists.job import FinalistPlan, FinalistResult
    from nasi_ray.search.result import SearchResult
    from nasi_ray.training.settings import TrainJob


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: Arguments without the program's name; None: the arguments of this process.

    Returns:
        The exit status (``run.process``).

    Raises:
        SystemExit: After an error, on ``--help``, and on malformed flags.
    """
    # Read when NumPy and SciPy load. On matrices as small as ours threads wait for one another, and
    # one thread gives the same digits on any number of cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        os.getcwd()
    except FileNotFoundError:  # torch's libraries end the process over it
        sys.stderr.write("error: the working directory was deleted; go to another directory\n")
        sys.exit(EXIT_ERROR)
    run = partial(_run, args)
    return supervised(run) if args[:1] and args[0] in _ON_RAY else run()


def _run(args: list[str]) -> int:
    name = args[0] if args else "--help"
    with reporting_errors(), stopping_once():
        if name in ("-h", "--help"):
            _print(_help())
            return 0
        if name in ("version", "--version"):
            _print(_version())
            return 0
        if name.startswith("--tyro-"):
            return _complete(args)
        if name not in COMMANDS:
            raise UnknownNameError("command", name, list(COMMANDS))
        return COMMANDS[name][1](args[1:])


def _search(argv: Sequence[str]) -> int:
    from nasi_ray.search.settings import parse_search
    from nasi_ray.training.settings import job_after_search, refuse_unknown_recipe

    job = parse_search(argv)
    if job.then_train:
        refuse_unknown_recipe(job.then_train)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.finalists.job import plan_finalists
    from nasi_ray.search.job import run_search
    from nasi_ray.search.text import lost_warning

    plan = plan_finalists(job.final, job.samples, job.estimate, job.compute, job.tracking)
    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_search(job, progress)
    _print_search(result)
    warning = lost_warning(result.content)
    if warning:
        sys.stderr.write(f"{escaped(warning)}\n")
    architecture, num_failed = result.architecture, 0
    if plan is not None:
        found = _run_finalists(plan, [result], result.uri)
        architecture, num_failed = found.architecture, found.num_failed
    if job.then_train:
        _run_train(
            job_after_search(
                job.then_train,
                job.samples,
                job.compute,
                space=job.samples.space,
                architecture=architecture.to_string(),
                out=result.uri,
                tracking=job.tracking,
            )
        )
    _write_page(result.uri, job.report)
    return EXIT_INCOMPLETE if warning or num_failed else 0


def _print_search(result: SearchResult) -> None:
    from nasi_ray.display.terminal import wants_color
    from nasi_ray.search.text import summary_lines

    _write(summary_lines(result.content, color=wants_color(sys.stdout)))
    if "cost" in result.content:
        _print_line(str(result.content["cost"]))
    genotype = "genotype.json, " if "genotype" in result.content else ""
    is_drawn = genotype or hasattr(result.architecture, "graph")
    cell = "cell.svg, cell.png, " if is_drawn else ""
    front = "front.svg, front.png, " if "front" in result.content else ""
    records = "measurements/" if result.table is None else "samples/"
    _print_line(
        f"written to {result.uri}: result.json, settings.yaml, {genotype}{cell}{front}{records}"
    )


def _run_finalists(plan: FinalistPlan, results: Sequence[SearchResult], uri: str) -> FinalistResult:
    from nasi_ray.display.progress import make_progress
    from nasi_ray.finalists.job import run_finalists
    from nasi_ray.finalists.text import finalist_lines

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_finalists(plan, results, uri, progress)
    _print("\n" + finalist_lines(result.content))
    _print_line(f"written to {uri}: {', '.join(result.files)}")
    if result.num_failed:
        sys.stderr.write(
            f"warning: the training of {plural(result.num_failed, 'finalist')} failed; run the "
            "same command again to retry\n"
        )
    return result


def _sweep(argv: Sequence[str]) -> int:
    from nasi_ray.sweep.settings import parse_sweep

    job = parse_sweep(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.finalists.job import plan_finalists
    from nasi_ray.sweep.job import run_sweep
    from nasi_ray.sweep.settings import plain_compute
    from nasi_ray.sweep.text import sweep_lines

    compute = plain_compute(job)
    plan = plan_finalists(job.final, job.samples, job.estimate, compute, job.tracking)
    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_sweep(job, progress)
    _print(sweep_lines(result.content))
    if "cost" in result.content:
        _print_line(str(result.content["cost"]))
    parts = (name.partition("/") for name in result.files)
    named = dict.fromkeys(f"{top}{slash}" for top, slash, _ in parts)
    _print_line(f"written to {result.uri}: {', '.join(named)}, runs/")
    num_failed = 0
    if plan is not None:
        good = [search for search in result.searches[0] if search is not None]
        num_failed = _run_finalists(plan, good, result.uri).num_failed
    if result.num_failed or result.num_lost:
        failures = []
        if result.num_failed:
            searches = "search" if result.num_failed == 1 else "searches"
            failures.append(f"{result.num_failed} {searches} failed")
        if result.num_lost:
            failures.append(f"every attempt to evaluate {plural(result.num_lost, 'sample')} failed")
        sys.stderr.write(
            f"warning: {', and '.join(failures)}; run the same command again to retry\n"
        )
        num_failed += 1
    _write_page(result.uri, job.report)
    return EXIT_INCOMPLETE if num_failed else 0


def _rank(argv: Sequence[str]) -> int:
    from nasi_ray.ranking.settings import parse_rank

    job = parse_rank(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.ranking.job import run_rank
    from nasi_ray.ranking.text import ranking_lines

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_rank(job, progress)
    _print(ranking_lines(result.content))
    if "cost" in result.content:
        _print_line(str(result.content["cost"]))
    pictures = "scatter and deciles (svg, png), " if result.content["metric"] else ""
    _print_line(f"written to {result.uri}: ranking.json, ranking.md, scores.csv, {pictures}scores/")
    _write_page(result.uri, job.report)
    return EXIT_INCOMPLETE if result.num_lost else 0


def _study(argv: Sequence[str]) -> int:
    from nasi_ray.study.settings import parse_study

    study = parse_study(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.study.job import run_study

    command = shlex.join(["nasi-ray", "study", *argv])
    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_study(study, progress, command=command)
    _print_line(f"written to {result.uri}: {', '.join(result.files)}")
    num_lost = result.content["num_lost"]
    if num_lost:
        sys.stderr.write(
            f"warning: every attempt to evaluate {plural(num_lost, 'sample')} failed; run the same "
            "command again to retry\n"
        )
    _write_page(result.uri, study.settings.report)
    return EXIT_INCOMPLETE if num_lost else 0


def _convert(argv: Sequence[str]) -> int:
    from nasi_ray.tables.settings import parse_convert

    job = parse_convert(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.tables.job import run_convert

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        lines = run_convert(job, progress)
    _print("\n".join(lines))
    return 0


def _describe(argv: Sequence[str]) -> int:
    from nasi_ray.describe.settings import parse_describe

    job = parse_describe(argv)
    from nasi_ray.describe.job import describe, describe_lines

    content = describe(job)
    _print(json.dumps(content) if job.json else describe_lines(content))
    if job.picture is not None and not job.json:
        _print(f"picture written to {user_path(job.picture).absolute()}")
    return 0


def _train(argv: Sequence[str]) -> int:
    from nasi_ray.training.settings import parse_train

    job = parse_train(argv)
    if job.subject.genotypes is not None:
        return _train_cells(job)
    _write_page(_run_train(job), job.report)
    return 0


def _train_cells(job: TrainJob) -> int:
    from nasi_ray.display.progress import make_progress
    from nasi_ray.training.cells import run_cells
    from nasi_ray.training.settings import ACCURACIES

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_cells(job, progress)
    table = (
        f"written to {result.uri}: {ACCURACIES}, cells/"
        if result.num_trained
        else "nothing trained"
    )
    _print_line(f"{result.num_trained} trained, {len(result.failures)} failed; {table}")
    _write_page(result.uri, job.report and result.num_trained > 0)
    return EXIT_INCOMPLETE if result.failures else 0


def _run_train(job: TrainJob) -> str:
    from nasi_ray.display.progress import make_progress
    from nasi_ray.training.job import run_train
    from nasi_ray.training.text import result_line

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_train(job, progress)
    _print_line(result_line(result.content, result.uri))
    return result.uri


def _export(argv: Sequence[str]) -> int:
    from nasi_ray.export.settings import parse_export

    job = parse_export(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.export.job import export_lines, run_export

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        content = run_export(job, progress.message)
    _print(export_lines(content))
    if job.left_out:
        sys.stderr.write(f"note: {job.left_out}\n")
    return 0


def _replay(argv: Sequence[str]) -> int:
    from nasi_ray.replay.settings import parse_replay

    job = parse_replay(argv)
    from nasi_ray.replay.grid import parse_grid
    from nasi_ray.replay.job import run_replay
    from nasi_ray.replay.text import replay_lines

    grid = parse_grid(job.grid)
    result = run_replay(job.runs, grid, table=job.table, metric=job.metric, out=job.out)
    _print("\n".join(replay_lines(result.content)))
    if result.uri is not None:
        _print_line(f"written to {result.uri}: {', '.join(result.files)}")
    return 0


def _confidence(argv: Sequence[str]) -> int:
    from nasi_ray.replay.settings import parse_confidence, read_settings

    job = parse_confidence(argv)
    from nasi_ray.replay.confidence import confidence_lines, confidence_of

    _print("\n".join(confidence_lines(confidence_of(job.runs, read_settings(job.set)))))
    return 0


def _show(argv: Sequence[str]) -> int:
    from nasi_ray.show import main as show

    return show(argv)


def _report(argv: Sequence[str]) -> int:
    from nasi_ray.pages.settings import parse_report

    job = parse_report(argv)
    from nasi_ray.pages.job import run_report

    page, *figures = run_report(job)
    drawn = f", and {len(figures)} figures as SVG and PNG in {job.figures}" if figures else ""
    _print_line(f"written: {page}{drawn}")
    return 0


def _write_page(uri: str, is_wanted: bool) -> None:
    """Write the page of a run that is done; without a page it is done, too."""
    if not is_wanted:
        return
    from nasi_ray.pages.job import run_report
    from nasi_ray.pages.settings import ReportJob

    try:
        _print_line(f"page: {run_report(ReportJob(runs=(uri,)))[0]}")
    except Exception as error:  # of the run, or of the plotting library, which is another's code
        reason = one_line(str(error)) or type(error).__name__
        sys.stderr.write(f"{escaped(f'note: no page was written: {reason}')}\n")


def _watch(argv: Sequence[str]) -> int:
    from nasi_ray.watch import main as watch

    return watch(argv)


def _cluster(argv: Sequence[str]) -> int:
    tool = argv[0] if argv else "--help"
    if tool in ("-h", "--help"):
        _print(f"usage: nasi-ray cluster TOOL [OPTION ...]; the tools: {', '.join(CLUSTER_TOOLS)}")
        return 0
    if tool not in CLUSTER_TOOLS:
        raise UnknownNameError("cluster tool", tool, list(CLUSTER_TOOLS))
    status: int = importlib.import_module(CLUSTER_TOOLS[tool]).main(argv[1:])
    return status


CLUSTER_TOOLS = {
    "render": "nasi_ray.cluster.render",
    "validate": "nasi_ray.cluster.validate",
    "submit": "nasi_ray.cluster.submit",
    "watch-spot": "nasi_ray.cluster.spot_watcher",
}
"""Name of a tool -> its module, with ``main(argv) -> status``."""

COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "search": ("search a cell at initialization, without training", _search),
    "sweep": ("search with many seeds and settings side by side", _sweep),
    "rank": ("rank architectures by training-free proxies", _rank),
    "study": ("test searches against tables of accuracies", _study),
    "convert": ("convert benchmark files to tables of accuracies", _convert),
    "train": ("train the network of a cell", _train),
    "describe": ("count and draw the network of a cell", _describe),
    "export": ("write a trained model for other programs", _export),
    "replay": ("say which cell every setting of a grid selects", _replay),
    "confidence": ("say how certain the cell of one or more runs is", _confidence),
    "show": ("list the answers of a run side by side", _show),
    "report": ("write a page about runs: one HTML file", _report),
    "watch": ("show the progress of a run that another process makes", _watch),
    "cluster": ("render and check cluster files, submit jobs", _cluster),
}
"""Name -> description, and the function that runs it."""


_ON_RAY = ("search", "sweep", "rank", "study", "train")


def _help() -> str:
    width = max(map(len, [*COMMANDS, "version"]))
    rows = {**{name: about for name, (about, _) in COMMANDS.items()}, "version": "print versions"}
    lines = [f"  {name:<{width}}  {about}" for name, about in rows.items()]
    return "\n".join(
        [
            "usage: nasi-ray COMMAND [OPTION ...]",
            "",
            "Neural Architecture Search at Initialization, on a laptop or a Ray cluster.",
            "",
            *lines,
            "",
            "nasi-ray COMMAND --help lists the options of a command.",
            "nasi-ray --tyro-print-completion bash (zsh, tcsh) prints a completion script.",
            "",
            textwrap.fill(EXIT_STATUSES, 80),
        ]
    )


def _version() -> str:
    parts = [f"Python {platform.python_version()}"]
    for package in ("torch", "ray"):
        with contextlib.suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    return f"nasi_ray {__version__} ({', '.join(parts)})"


def _complete(argv: Sequence[str]) -> int:
    """Handle tyro's own flags, which print completion scripts for shells."""
    import tyro

    from nasi_ray.describe.settings import DescribeJob
    from nasi_ray.export.settings import ExportJob
    from nasi_ray.pages.settings import ReportJob
    from nasi_ray.ranking.settings import RankJob
    from nasi_ray.replay.settings import ReplayJob
    from nasi_ray.search.settings import SearchJob
    from nasi_ray.study.settings import STUDIES
    from nasi_ray.tables.settings import ConvertJob
    from nasi_ray.training.settings import TrainJob

    subcommand = tyro.conf.subcommand
    studies = tyro.extras.subcommand_type_from_defaults({n: kind() for n, kind in STUDIES.items()})
    jobs: Any = (
        Annotated[SearchJob, subcommand("search")]
        | Annotated[RankJob, subcommand("rank")]
        | Annotated[studies, subcommand("study")]
        | Annotated[ConvertJob, subcommand("convert")]
        | Annotated[TrainJob, subcommand("train")]
        | Annotated[DescribeJob, subcommand("describe")]
        | Annotated[ExportJob, subcommand("export")]
        | Annotated[ReportJob, subcommand("report")]
        | Annotated[ReplayJob, subcommand("replay")]
    )
    tyro.cli(
        jobs,
        prog="nasi-ray",
        args=list(argv),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return 0


def _print_line(line: str) -> None:
    _print(escaped(line))


def _print(text: str) -> None:
    """Write lines; whatever else does not print becomes an escape."""
    _write(escaped_lines(text))


def _write(text: str) -> None:
    """Write lines that are printable, but for codes of colours."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # ν and ± on a terminal without Greek
    sys.stdout.write(text.rstrip("\n") + "\n")


if __name__ == "__main__":
    sys.exit(main())
