"""``python jobs/convert.py`` as users run it."""

from __future__ import annotations

import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from nasi_ray.spaces.nb1shot1 import S1, NB1Shot1Space
from nasi_ray.spaces.nb201 import NB201
from tests.jobs import command
from tests.official_files import trials_of_space, write_nasbench101, write_natsbench

pytestmark = pytest.mark.timeout(120)

start, call = partial(command.start, "convert.py"), partial(command.call, "convert.py")
# 2 x 3 x 9 configurations.
TINY = NB1Shot1Space("tiny", (1, 1, 2))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_nasbench101(tmp_path / "nasbench.tfrecord", trials_of_space(TINY))


@pytest.mark.integration
def test_a_file_is_converted_and_shown(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "nasbench101.parquet"
    code, out, err = command.run("convert.py", "nasbench101", source, target)
    assert code == 0, err
    assert "\x1b" not in out + err
    last = err.splitlines()[-1]
    assert re.fullmatch(r"(.* kB) of \1, .*/s, 0:00:00 left, nasbench\.tfrecord", last)
    assert "best mean: 50.000 %, " in out
    assert out.endswith(f"written: {target}\n")
    code, shown, err = call("show", target)
    assert (code, err) == (0, "")
    assert shown.strip()
    assert shown in out


def test_natsbench_is_converted(tmp_path: Path) -> None:
    pytest.importorskip(
        "nats_bench", reason="nats-bench is not installed: pip install 'nasi_ray[nats]'"
    )
    _, folder = write_natsbench(tmp_path, [NB201.architecture(i).to_string() for i in range(3)])
    code, out, err = call("nasbench201", folder, tmp_path / "nasbench201.parquet")
    assert code == 0, err
    assert err.splitlines()[0] == f"opening {folder}"
    assert "nasbench201.parquet\n3 rows, 3 architectures by NAS-Bench-201 string" in out
    assert "validation accuracy after 200 epochs" in out
    assert "data set: imagenet16_120" in out


@pytest.mark.integration
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_the_old_table(tmp_path: Path, signum: signal.Signals) -> None:
    records = trials_of_space(S1) * 4
    source = write_nasbench101(tmp_path / "nasbench.tfrecord", records)
    target = tmp_path / "nasbench101.parquet"
    target.write_bytes(b"old")
    process = start("nasbench101", source, target)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("0 B of 4.81 MB, ")
    os.killpg(process.pid, signum)
    time.sleep(0.05)
    os.killpg(process.pid, signum)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, out) == (130, "")
    stopped = "stopped; all is unchanged: run the same command again to start over\n"
    assert err.splitlines(keepends=True)[-1] == stopped
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["nasbench.tfrecord", "nasbench101.parquet"]


def test_errors_are_one_line(source: Path, tmp_path: Path) -> None:
    target, torn = tmp_path / "table.parquet", tmp_path / "torn.tfrecord"
    target.write_bytes(b"old")
    torn.write_bytes(source.read_bytes()[:-3])
    for args, told in (
        (("nasbench101", tmp_path / "none", target), "there is no "),
        (("nasbench101", torn, target), "is cut off: 3 bytes are missing; fetch the file again"),
        (("nasbench101", target, tmp_path / "t"), "is cut off"),
        (("nasbench101", command.JOBS / "convert.py", target), "this is not a TFRecord file"),
        (("nasbench101", source, tmp_path / "none" / "t"), "cannot be written: No such file"),
        (("nasbench101", source, source), "is the source, which would be lost"),
        (("show", source), "cannot be read as Parquet"),
    ):
        code, out, err = call(*args)
        assert (code, out) == (1, ""), args
        lines = [line for line in err.splitlines() if " left, " not in line]
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        assert told in lines[0]
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["nasbench.tfrecord", "table.parquet", "torn.tfrecord"]
