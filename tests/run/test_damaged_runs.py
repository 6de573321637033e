"""Damaged files of whole runs: every reader gives a result or one of our errors in one line.

Parts of records are in ``tests/records/test_fuzz.py``, files that people bring in
``tests/test_fuzz.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.pages.job import parts_of
from nasi_ray.ranking.scores import read_scores
from nasi_ray.run.subject import read_subject
from nasi_ray.search.run import Run
from nasi_ray.show import show_lines
from nasi_ray.storage import LocalStorage
from nasi_ray.training.metrics import read_metrics
from nasi_ray.training.model import load_model
from nasi_ray.training.result import read_result
from nasi_ray.watch import WatchJob, watch
from tests.fuzzing import is_read, mutants
from tests.pages.runs import make_run, make_sweep
from tests.run.test_old_runs import OLD
from tests.toy import Quiet
from tests.training.trainings import train

pytestmark = pytest.mark.integration  # runs every job

OTHERS = [
    b"", b"[]", b"5", b"null", b'"x"', b"{}", b"[{}]", b"\xff", b"[" * 200_000, b'{"a":' * 50_000,
    b'{"proxies": 5}', b'{"combinations": 5}', b'{"seed": "\\ud800"}', b"job: 2020-99-99\n",
    b"job: [search]\n", b"job: {a: b}\n", b"job: " + b"9" * 5000,
]  # fmt: skip
"""In place of a whole file."""
READERS: dict[str, Callable[[str], object]] = {
    "show": show_lines,
    "watch": lambda uri: watch(WatchJob(run=uri, once=True), Quiet()),
    "report": parts_of,
    "describe": lambda uri: read_subject(uri, "darts", None),
    "open_run": lambda uri: Run.open(uri).result(method="fix", nu=20.0),
    "read_scores": read_scores,
    "load_model": lambda uri: load_model(LocalStorage(uri)),
    "read_result": lambda uri: read_result(LocalStorage(uri)),
    "read_metrics": lambda uri: read_metrics(LocalStorage(uri)),
}
READ_BY = {
    "search": ["show", "watch", "report", "describe", "open_run"],
    "sweep": ["show", "watch", "report"],
    "ranking": ["show", "report", "read_scores"],
    "training": ["watch", "report", "describe", "load_model", "read_result", "read_metrics"],
}
"""Kind of run -> its readers."""
LARGE = ["search", "training"]
KINDS = [".json", ".yaml", ".parquet", ".safetensors", ".csv"]


def make(kind: str, path: Path) -> Path:
    if kind == "search":
        make_run(path, space="nb201", num_samples=4)
    elif kind == "sweep":
        make_sweep(path)
    elif kind == "training":
        train(path, epochs=1)
    else:
        old = LocalStorage(OLD / "ranking_s1")
        for name in old.list(""):
            LocalStorage(path).write(name, old.read(name))
    return path


def files_of(run: Path) -> Iterator[Path]:
    for path in sorted(run.rglob("*")):
        is_own = path.suffix in KINDS and "runs" not in path.relative_to(run).parts
        if path.is_file() and is_own and not path.name.startswith("part-"):
            yield path


@pytest.mark.parametrize(
    "kind",
    ["sweep", "ranking", *(pytest.param(k, marks=pytest.mark.integration) for k in LARGE)],
)
def test_a_damaged_run_is_read_or_named(tmp_path: Path, kind: str) -> None:
    run = make(kind, tmp_path / "run")
    readers = {name: partial(READERS[name], str(run)) for name in READ_BY[kind]}
    assert all(map(is_read, readers.values()))
    for path in files_of(run):
        good = path.read_bytes()
        for damaged in [*OTHERS, *mutants(good, 4, seed=5)]:
            path.write_bytes(damaged)
            for read in readers.values():
                is_read(read)
        path.write_bytes(good)


def test_a_sweep_is_shown(tmp_path: Path) -> None:
    lines = show_lines(make_sweep(tmp_path))
    assert any(line.startswith("seed  cell") for line in lines)


def test_a_result_of_another_version_is_refused(tmp_path: Path) -> None:
    search = make_run(tmp_path / "search", space="nb201", num_samples=4)
    sweep = make_sweep(tmp_path / "sweep")
    for uri, name, read in (
        (search, "result.json", show_lines),
        (search, "result.json", parts_of),
        (search, "result.json", lambda uri: read_subject(uri, "darts", None)),
        (sweep, "sweep.json", show_lines),
        (sweep, "sweep.json", parts_of),
    ):
        path = Path(uri, name)
        good = path.read_text()
        path.write_text(good.replace('/1"', '/9"', 1))
        with pytest.raises(
            RecordCorruptError, match=r"has schema nasi_ray\.\w+/9, this program re"
        ):
            read(uri)
        path.write_text(good)
    ranking = make("ranking", tmp_path / "ranking")
    path = ranking / "ranking.json"
    path.write_text(path.read_text().replace("ranking/1", "ranking/9"))
    for read in (show_lines, parts_of):
        with pytest.raises(
            RecordCorruptError, match=r"ranking\.json has schema nasi_ray\.ranking/9"
        ):
            read(str(ranking))
    (tmp_path / "x.json").write_text('{"schema": "nasi_ray.study/9"}')
    with pytest.raises(RecordCorruptError, match=r"x\.json has schema nasi_ray\.study/9"):
        parts_of(str(tmp_path))


def test_a_damaged_training_is_told_what_helps(tmp_path: Path) -> None:
    run = make("training", tmp_path / "run")
    with pytest.raises(RecordConflictError, match="is the run directory of a training"):
        show_lines(str(run))
    path = run / "result.json"
    good = path.read_bytes()
    path.write_bytes(good[:100])
    with pytest.raises(RecordCorruptError, match=r"result\.json cannot be .*; delete it and run"):
        parts_of(str(run))
    path.write_bytes(good.replace(b"training/1", b"training/9"))
    for read in (parts_of, lambda uri: read_result(LocalStorage(uri))):
        with pytest.raises(RecordCorruptError, match=r"has schema nasi_ray\.training/9"):
            read(str(run))
    path.unlink()
    train(run, epochs=1)
    assert parts_of(str(run))


def test_an_answer_of_another_kind_is_named(tmp_path: Path) -> None:
    uri = make_run(tmp_path, space="nb201", num_samples=4)
    (tmp_path / "result.json").write_bytes(b"{}")
    for read in (show_lines, parts_of):
        with pytest.raises(RecordCorruptError, match=r"was changed|cannot be read"):
            read(uri)
