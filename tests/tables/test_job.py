from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import ConfigError, DataError, SearchStoppedError
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.tables import job as launch
from nasi_ray.tables.job import run_convert
from nasi_ray.tables.settings import NASBench101Job, ShowJob, parse_convert
from tests.official_files import trials_of_space, write_nasbench101
from tests.toy import Quiet


@pytest.fixture(scope="module")
def official_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NAS-Bench-101 file with all cells of S1."""
    return write_nasbench101(tmp_path_factory.mktemp("s1") / "s1.tfrecord", trials_of_space(S1))


@pytest.fixture
def job(official_file: Path, tmp_path: Path) -> NASBench101Job:
    target = tmp_path / "nasbench101.parquet"
    return NASBench101Job(source=str(official_file), target=str(target), space=("s1",))


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_both_tables_are_written_and_told(job: NASBench101Job, tmp_path: Path) -> None:
    progress = Quiet()
    lines = run_convert(job, progress)
    assert files(tmp_path) == ["nasbench101.parquet", "nasbench1shot1_s1.parquet"]
    size = Path(job.source).stat().st_size
    last = progress.states[-1]
    assert (last.num_done, last.num_total, last.unit) == (size, size, "bytes")
    assert (last.title, last.num_workers) == ("s1.tfrecord", None)
    assert progress.messages == ["s1: joining 14,580 configurations"]
    assert lines[:2] == [job.target, "2,685 rows, 2,685 architectures by NAS-Bench-101 hash"]
    assert "  best mean: 2.684 %, " in "\n".join(lines)
    paths = [job.target, tmp_path / "nasbench1shot1_s1.parquet"]
    assert lines[-2:] == [f"written: {path}" for path in paths]
    shown = run_convert(ShowJob(table=str(tmp_path / "nasbench1shot1_s1.parquet")), progress)
    assert shown[1] == "14,580 rows, 2,685 architectures by NAS-Bench-101 hash"
    assert set(shown) < set(lines)


def test_a_space_that_is_not_all_there_leaves_the_table_that_is(
    official_file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "nasbench101.parquet"
    job = NASBench101Job(source=str(official_file), target=str(target), space=("s1", "s2"))
    with pytest.raises(DataError, match=r"s2 needs .* \d+ of the 29160 architectures") as caught:
        run_convert(job, Quiet())
    assert str(caught.value).endswith(
        f"; complete: {target}, {tmp_path / 'nasbench1shot1_s1.parquet'}"
    )
    assert files(tmp_path) == ["nasbench101.parquet", "nasbench1shot1_s1.parquet"]


@pytest.mark.parametrize("step", ["convert_nasbench101", "convert_nb1shot1"])
def test_stopping_says_what_is_complete(
    job: NASBench101Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, step, interrupt)
    with pytest.raises(SearchStoppedError) as caught:
        run_convert(job, Quiet())
    if step == "convert_nasbench101":
        assert str(caught.value).startswith("stopped; all is unchanged: run the same")
        assert files(tmp_path) == []
    else:
        assert f"complete: {job.target}; all else is unchanged: run the same" in str(caught.value)
        assert files(tmp_path) == ["nasbench101.parquet"]
        assert pq.read_table(job.target).num_rows == 2685


def test_a_target_with_the_name_of_a_spaces_table_is_refused(
    official_file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "nasbench1shot1_s1.parquet"
    job = NASBench101Job(source=str(official_file), target=str(target), space=("s1",))
    with pytest.raises(ConfigError, match="would be overwritten by the space's table"):
        run_convert(job, Quiet())
    assert files(tmp_path) == []


def test_spaces_may_be_given_several_times_and_anywhere() -> None:
    for argv in (
        ["nasbench101", "a", "b", "--space", "s1", "--space", "s3"],
        ["nasbench101", "--space", "s1", "--space=s3", "a", "b"],
    ):
        job = parse_convert(argv)
        assert job == NASBench101Job(source="a", target="b", space=("s1", "s3"))


@pytest.mark.parametrize(
    "argv",
    [[], ["nasbench101"], ["nasbench101", "a", "b", "--space", "s4"], ["nasbench301", "a", "b"]],
)
def test_what_does_not_parse_is_told_by_the_parser(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_convert(argv)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
