"""Malformed and hostile inputs of a search: one line, its exit status, records untouched."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.run.process import reporting_errors
from nasi_ray.search.job import run_search
from nasi_ray.search.settings import parse_search
from tests.jobs import command
from tests.toy import Quiet

pytestmark = pytest.mark.usefixtures("blank_pictures")

TINY = (
    *("--batch-size", "4", "--image-size", "8", "--init-channels", "2", "--num-cells", "3"),
    *("--num-workers", "0", "--num-samples", "3", "--preset", "nasi-fix"),
)


def search(*argv: str, progress: Quiet | None = None) -> None:
    """What ``python jobs/search.py argv`` does, in this process."""
    with reporting_errors():
        run_search(parse_search(argv), progress or Quiet())


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a run's records."""
    paths = [*folder.glob("samples/*"), folder / "identity.json"]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    search(*TINY, "--out", str(out))
    return out


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A run directory of its own with three samples."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def refused(run: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a search, checks how it fails, and returns the line it says."""

    def check(*argv: str, status: int = 1, out: Path | str = run, has_data: bool = False) -> str:
        before, progress = content_of(run), Quiet()
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            # A later flag wins over an earlier one.
            search(*TINY, "--out", str(out), *argv, progress=progress)
        told = capfd.readouterr()
        assert told.out == ""
        assert len(progress.messages) == has_data
        assert all(" decoded in " in message for message in progress.messages)
        assert all(" classes (labels 0 to " in message for message in progress.messages)
        (line,) = told.err.splitlines()
        assert line.startswith("error: ")
        assert ended.value.code == status
        assert content_of(run) == before
        return line

    return check


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("s3:///prefix", "invalid bucket ''"),
        ("s3://UPPER/run", "invalid bucket 'UPPER'"),
        ("s3://a_b/run", "invalid bucket 'a_b'"),
        ("s3://bucket/../other", "invalid prefix '../other'"),
        ("s3://bucket//run", "invalid prefix '/run'"),
        ("s3://bucket/\udcff", "in UTF-8"),
        ("s3:bucket/run", "unsupported run directory"),
        ("S3://bucket/run", "unsupported run directory"),
        ("http://host/run", "give a directory path or s3://bucket/prefix"),
        ("file:///tmp/run", "give a directory path or s3://bucket/prefix"),
        ("run\0", "invalid run directory"),
        ("  ", "invalid run directory"),
        ("\n\nrun\n/\0", "invalid run directory"),
    ],
)
def test_run_directories_that_are_none(refused: Callable[..., str], out: str, told: str) -> None:
    assert told in refused(out=out, status=2)


@pytest.mark.parametrize(
    ("out", "told"), [("/proc/run", "cannot lock /proc/run"), ("r" * 300, "File name too long")]
)
def test_run_directories_that_cannot_be_made(
    refused: Callable[..., str], out: str, told: str
) -> None:
    assert told in refused(out=out)


def test_run_directories_that_are_in_the_way(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "a file is where a directory should be" in refused(out=tmp_path / "file")
    assert "a file is where a directory should be" in refused(out=tmp_path / "file" / "run")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert str(tmp_path / "loop") in refused(out=tmp_path / "loop")
    assert str(tmp_path / "loop") in refused(out=tmp_path / "loop" / "run")


HUGE = str(10**30)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *((flag, v) for flag in ("--mu", "--xi", "--norm-epsilon") for v in ("nan", "inf", "-1")),
        *((flag, v) for flag in ("--nu", "--temperature") for v in ("nan", "inf", "1e309", "-0.5")),
        *(("--gpus-per-worker", v) for v in ("nan", "inf", "-1", "2.5")),
        *(("--capacity-timeout-s", v) for v in ("nan", "-1")),
        *((flag, "-1") for flag in ("--seed", "--num-samples", "--num-workers", "--num-cells")),
        ("--num-samples", HUGE),
        ("--num-samples", "0"),
        ("--batch-size", HUGE),
        ("--image-size", HUGE),
        ("--image-size", "100000"),
        ("--init-channels", HUGE),
        ("--init-channels", "1000000"),
        ("--num-classes", HUGE),
        ("--num-cells", HUGE),
        ("--num-cells", "2"),
        ("--threads-per-worker", HUGE),
        ("--threads-per-worker", "0"),
        ("--num-workers", HUGE),
        ("--space", "../darts"),
        ("--preset", ""),
    ],
)
def test_values_out_of_range(
    refused: Callable[..., str], tmp_path: Path, flag: str, value: str
) -> None:
    line = refused(flag, value, out=tmp_path / "new", status=2)
    assert flag[2:] in line or flag[2:].replace("-", "_") in line or value in line


def test_settings_that_exceed_the_memory(refused: Callable[..., str], tmp_path: Path) -> None:
    line = refused("--batch-size", "65536", "--image-size", "4096", out=tmp_path / "new", status=2)
    assert "out of memory" in line


IDENTITIES = {
    "empty": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\0",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "other version": b'{"version": 2, "num_logits": 84, "identity": {}}',
    "no identity": b'{"version": 1, "num_logits": 84}',
    "identity of another type": b'{"version": 1, "num_logits": 84, "identity": []}',
    "logits of another type": b'{"version": 1, "num_logits": "84", "identity": {}}',
    "NaN": b'{"version": 1, "num_logits": 84, "identity": {"seed": NaN}}',
    "other fields": b'{"version": 1, "num_logits": 84, "identity": {"seed": {"a": [{}]}}}',
    "line breaks": b'{"version": 1, "num_logits": 84, "identity": {"a\\nb": "c\\nd"}}',
    "deep": b"[" * 200_000,
}


@pytest.mark.parametrize("content", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_identities_that_are_none(refused: Callable[..., str], run: Path, content: bytes) -> None:
    (run / "identity.json").write_bytes(content)
    assert str(run) in refused()


@pytest.mark.parametrize("content", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_a_broken_config_json_is_written_anew(run: Path, content: bytes) -> None:
    before = (run / "config.json").read_bytes()
    (run / "config.json").write_bytes(content)
    search(*TINY, "--out", str(run))
    assert (run / "config.json").read_bytes() == before


def samples_of(run: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in (run / "samples").glob("part-*")])


def part_of(run: Path) -> Path:
    return next((run / "samples").glob("part-*.parquet"))


def add_part(run: Path, data: bytes) -> None:
    """A file that bears the name of a second part, with the right checksum."""
    digest = hashlib.sha256(data).hexdigest()[:16]
    (run / "samples" / f"part-00000099-{digest}.parquet").write_bytes(data)


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def test_parts_that_were_damaged(refused: Callable[..., str], run: Path) -> None:
    part = part_of(run)
    good = part.read_bytes()
    for bad in (b"", good[:-100], good[:40], good + b"\0", bytes(len(good))):
        part.write_bytes(bad)
        line = refused()
        assert part.name in line
        assert "delete it" in line
    part.unlink()
    search(*TINY, "--out", str(run))
    assert part_of(run).stat().st_size > 0


Change = Callable[[pa.Table], pa.Table]


def with_column(name: str, values: Any) -> Change:
    """Replace a column by these values, of its own type."""

    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        field = table.schema.field(at)
        return table.set_column(at, field, pa.array(values, field.type))

    return change


PARTS: dict[str, Change] = {
    "no metadata": lambda t: t.replace_schema_metadata(None),
    "other version": lambda t: t.replace_schema_metadata(
        {**t.schema.metadata, b"nasi_ray.version": b"2"}
    ),
    "other settings": lambda t: t.replace_schema_metadata(
        {**t.schema.metadata, b"nasi_ray.fingerprint": b"0" * 64}
    ),
    "a column less": lambda t: t.drop_columns(["grad"]),
    "a column more": lambda t: t.append_column("x", pa.array([1, 2, 3])),
    "a column of another type": lambda t: t.set_column(0, "index", pa.array(["0", "1", "2"])),
    "no index": with_column("index", [None, 4, 5]),
    "negative index": with_column("index", [-1, 4, 5]),
    "other samples of the same index": lambda t: with_column("trace_norm", [1.0, 2.0, 3.0])(
        with_column("index", [0, 1, 2])(t)
    ),
    "unknown status": with_column("status", ["ok", "fine", "ok"]),
    "no status": with_column("status", [None, None, None]),
    "good without a norm": with_column("trace_norm", [None, None, None]),
    "good with an infinite norm": with_column("trace_norm", [float("inf")] * 3),
    "good without a gradient": with_column("grad", [None, None, None]),
    "good with NaN in its gradient": with_column("grad", [[float("nan")] * 84] * 3),
}


@pytest.mark.parametrize("change", PARTS.values(), ids=PARTS.keys())
def test_parts_made_by_others(refused: Callable[..., str], run: Path, change: Change) -> None:
    samples = with_column("index", [10, 11, 12])(samples_of(run))
    add_part(run, parquet(change(samples)))
    assert "part-00000099" in refused()


def test_parts_that_are_no_parquet(refused: Callable[..., str], run: Path) -> None:
    add_part(run, b"PAR1" + bytes(100) + b"PAR1")
    assert "part-00000099" in refused()


def test_foreign_files_among_the_parts_are_left_alone(run: Path) -> None:
    names = ("notes.txt", "part-1.parquet", "part-00000001-0123456789abcdef.parquet.bak", ".x")
    for name in names:
        (run / "samples" / name).write_bytes(b"mine")
    (run / "samples" / "folder").mkdir()
    (run / "samples" / "loop").symlink_to(run)
    before = content_of(run)
    search(*TINY, "--out", str(run), "--num-samples", "4")
    assert before.items() <= content_of(run).items()


def test_directories_where_files_should_be(refused: Callable[..., str], run: Path) -> None:
    (run / "result.json").unlink()
    (run / "result.json").mkdir()
    assert "result.json" in refused()
    (run / "run.lock").unlink()
    (run / "run.lock").mkdir()
    assert "run.lock" in refused()


def test_files_where_directories_should_be(refused: Callable[..., str], run: Path) -> None:
    shutil.rmtree(run / "samples")
    (run / "samples").write_text("")
    assert f"cannot use {run}/samples: it is a file" in refused()


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that promises so many pixels, whatever it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def good_png(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return png(8, 8, b"".join(b"\0" + rng.bytes(24) for _ in range(8)))


IMAGES = {
    "a decompression bomb": png(60_000, 60_000),
    "a smaller bomb": png(10_000, 12_000),
    "no pixel": png(0, 0),
    "pixels missing": png(8, 8, b"\0" * 30),
    "cut off": good_png(0)[:60],
    "empty": b"",
    "text": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a program": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n",
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_images_that_are_none(refused: Callable[..., str], tmp_path: Path, image: bytes) -> None:
    for i in range(4):
        path = tmp_path / "images" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(good_png(i) if i else image)
    line = refused("--data", str(tmp_path / "images"), out=tmp_path / "new")
    assert "cat/0.png" in line


GOOD = [good_png(i) for i in range(4)]
LABELS = [0, 1, 0, 1]
DATA: dict[str, tuple[dict[str, Any], str]] = {
    "null label": ({"img": GOOD, "label": [0, None, 0, 1]}, "row 1: label is null"),
    "negative label": ({"img": GOOD, "label": [0, 1, -1, 1]}, "row 2: label is -1"),
    "huge label": ({"img": GOOD, "label": [0, 1, 2**62, 1]}, "label"),
    "label of another type": ({"img": GOOD, "label": [0.0, 1.0, 0.0, 1.0]}, "it must be integers"),
    "labels of another type": ({"img": GOOD, "label": [["a"]] * 4}, "it must be integers or text"),
    "a text that is missing": ({"img": GOOD, "label": ["0", None, "0", "1"]}, "label is missing"),
    "no image": ({"img": [GOOD[0], None, *GOOD[2:]], "label": LABELS}, "row 1: no image bytes"),
    "image of another type": ({"img": [1, 2, 3, 4], "label": LABELS}, "it must be binary"),
    "no image column": ({"picture": GOOD, "label": LABELS}, "lacks an image column"),
    "no label column": ({"img": GOOD}, "lacks a label column"),
    "no rows": ({"img": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "no images"),
    "one class": ({"img": GOOD, "label": [0, 0, 0, 0]}, "at least 2 classes"),
}


@pytest.mark.parametrize(("columns", "told"), DATA.values(), ids=DATA.keys())
def test_data_that_cannot_be_used(
    refused: Callable[..., str], tmp_path: Path, columns: dict[str, Any], told: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    assert told in refused("--data", str(tmp_path / "train.parquet"), out=tmp_path / "new")


def test_data_smaller_than_a_batch(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"img": GOOD[:3], "label": [0, 1, 0]}), path)
    told = refused("--data", str(path), out=tmp_path / "new", has_data=True)
    assert "batch_size is 4" in told


def test_data_that_are_no_parquet(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"img": GOOD, "label": LABELS}), path)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[:-20], whole[:100] + bytes(50) + whole[150:]):
        path.write_bytes(content)
        assert str(path) in refused("--data", str(path), out=tmp_path / "new")


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("", 2),
        ("http://host/x.parquet", 1),
        ("{new}/nothing", 1),
        ("x\0y", 2),
        ("~nobody9/x", 1),
    ],
)
def test_data_sources_that_are_none(
    refused: Callable[..., str], tmp_path: Path, source: str, status: int
) -> None:
    source = source.replace("{new}", str(tmp_path))
    assert "data" in refused("--data", source, out=tmp_path / "new", status=status)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--space", "cifar"), "unknown space 'cifar'; choose one of darts"),
        (
            ("--preset", "x"),
            "choose one of auto, nasi-1shot1, nasi-ada, nasi-balanced, nasi-ex",
        ),
        (("--data", "no-such-thing"), "CIFAR10"),
    ],
)
def test_unknown_names_are_told_with_the_allowed_ones(
    refused: Callable[..., str], tmp_path: Path, flags: tuple[str, str], told: str
) -> None:
    line = refused(*flags, out=tmp_path / "new", status=2)
    assert told in line
    assert flags[1] in line


def test_folders_that_hold_no_images(refused: Callable[..., str], tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    out = tmp_path / "new"
    assert "empty" in refused("--data", str(images), out=out)
    (images / "cat").mkdir()
    assert "no image in this class folder" in refused("--data", str(images), out=out)
    (images / "cat" / "0.png").symlink_to(images / "cat" / "0.png")
    (images / "dog").mkdir()
    (images / "dog" / "1.png").symlink_to(images / "cat" / "0.png")
    assert "0.png" in refused("--data", str(images), out=out)
    shutil.rmtree(images)
    images.symlink_to(images)
    assert str(images) in refused("--data", str(images), out=out)


def test_a_pipe_is_not_waited_for(refused: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in refused("--data", str(tmp_path / "pipe"), out=tmp_path / "new")


@pytest.mark.parametrize(
    "argv",
    [["--num-samples", "many"], ["--mu", ""], ["--no-such-flag"], ["--loss", "hinge"], ["darts"]],
)
def test_what_does_not_parse_is_told_by_the_parser(
    argv: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        search(*argv)
    told = capfd.readouterr()
    assert ended.value.code == 2
    assert "Traceback" not in told.err
    assert argv[0].lstrip("-") in told.err


def test_the_script_says_the_same(run: Path, tmp_path: Path) -> None:
    tiny = (*TINY, "--out", str(run))
    assert command.call("search.py", *tiny)[0] == 0
    before = content_of(run)
    new = str(tmp_path / "new")
    (tmp_path / "text.parquet").write_text("no Parquet")
    part_of(copied := Path(shutil.copytree(run, tmp_path / "copy"))).write_bytes(b"")
    for argv, status, told in (
        (("--mu", "nan", "--out", new), 2, "mu is nan"),
        (("--space", "../darts", "--out", new), 2, "unknown space '../darts'"),
        (("--data", str(tmp_path / "text.parquet"), "--out", new), 1, "text.parquet"),
        (("--out", str(copied)), 1, "delete it"),
    ):
        code, out, err = command.call("search.py", *tiny, *argv)
        (line,) = err.splitlines()
        assert (code, out) == (status, ""), err
        assert line.startswith("error: ")
        assert told in line
    assert content_of(run) == before
