"""Small files that promise much: the memory they take is bounded, and the error is one line."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nasi_ray.data import decode as decoding
from nasi_ray.data.decode import decode
from nasi_ray.data.load import load_images
from nasi_ray.errors import DataError
from nasi_ray.parquet_file import open_parquet, read_batches, read_table
from nasi_ray.tables.tabular import TabularBenchmark
from tests.data.encoded import IMAGE_TYPE, encode, png

MIB = 1 << 20
NB201 = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@contextmanager
def bounded(limit: int) -> Iterator[None]:
    """Checks that Arrow's and Python's own memory stay below so many bytes."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        yield
        assert (pool.max_memory() or 0) + tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    """A file in which one large value stands in every row."""
    pq.write_table(pa.table(columns), path, compression="zstd", **options)
    assert path.stat().st_size < 64 * 1024
    return path


@pytest.mark.parametrize("kind", [pa.binary(), IMAGE_TYPE, pa.large_binary()], ids=str)
def test_one_image_in_every_row_is_decoded_a_few_at_a_time(tmp_path: Path, kind: Any) -> None:
    value = png(0) + bytes(8 * MIB)
    rows = [{"bytes": value, "path": "x"} if kind == IMAGE_TYPE else value] * 24
    table = {"img": pa.array(rows, kind), "label": [0, 1] * 12}
    path = write(tmp_path / "a.parquet", table, dictionary_pagesize_limit=1 << 30)
    with bounded(250 * MIB):
        assert len(load_images(str(path), image_size=8)) == 24


def test_one_long_label_in_every_row_is_refused(tmp_path: Path) -> None:
    label = pa.array(["x" * 8 * MIB] * 24)
    table = {"img": [png(0)] * 24, "label": label}
    path = write(tmp_path / "a.parquet", table, dictionary_pagesize_limit=1 << 30)
    with (
        bounded(250 * MIB),
        pytest.raises(DataError, match=r"row 0: label is 8388608 characters long"),
    ):
        load_images(str(path), image_size=8)


def test_an_encoded_image_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(png(0))
    os.truncate(tmp_path / "b" / "x.png", 1 << 40)  # a file with a hole of a terabyte
    monkeypatch.setattr(decoding, "MAX_ENCODED_BYTES", 1000)
    monkeypatch.setattr("nasi_ray.data.folder.MAX_ENCODED_BYTES", 1000)
    with pytest.raises(DataError, match=r"cannot be read \(.*it has more than 1000 bytes: .*b/x.p"):
        load_images(str(tmp_path), image_size=8)
    with pytest.raises(
        DataError, match=r"^x: image has 0 MB; at most 0 MB is allowed: scale it do"
    ):
        decode(bytes(1001), 8, "x")


@pytest.mark.parametrize("size", [(20_000_000, 1), (1, 20_000_000), (10_000, 1)])
@pytest.mark.parametrize("image_size", [2, 8, 32, 224])
def test_what_a_long_image_is_enlarged_to_is_bounded(
    size: tuple[int, int], image_size: int
) -> None:
    data = encode(Image.new("1", size), "TIFF", compression="group4")
    pixels = max(size) * image_size**2 // min(size)
    resized: list[int] = []
    fit = decoding.fit

    def spy(image: Image.Image, wanted: int) -> Any:
        resized.append(pixels)
        return fit(image, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "fit", spy)
        if pixels > 1 << 24:
            with pytest.raises(DataError, match=r"is too long and narrow; crop or remove it$"):
                decode(data, image_size, "x")
        else:
            assert decode(data, image_size, "x").shape == (3, image_size, image_size)
    assert all(number <= 1 << 24 for number in resized)


TABLES: dict[str, tuple[dict[str, Callable[[], Any]], str]] = {
    "a key": (
        {"arch": lambda: pa.array(["x" * 8 * MIB] * 24)},
        r"has a text of 8388608 bytes; a table's",
    ),
    "a key once": (
        {"arch": lambda: pa.array([NB201] * 2000 + ["x" * 60_000])},
        r"has a string of 60000 bytes; an architecture has at most 1000",
    ),
    "trials": (
        {
            "arch": lambda: pa.array([NB201, NB201[:-1]]),
            "cifar10_test_accuracy_12ep": lambda: pa.array([[50.0] * MIB, []]),
        },
        r"has a list of 1048576 accuracies; there may be at most 100 trials",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_large_values_is_refused(tmp_path: Path, name: str) -> None:
    columns, message = TABLES[name]
    made = {column: make() for column, make in columns.items()}
    path = write(tmp_path / "t.parquet", made, dictionary_pagesize_limit=1 << 30)
    with bounded(500 * MIB), pytest.raises(DataError, match=message):
        TabularBenchmark.open(path)


def test_a_table_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "t.parquet", {"arch": ["x" * 1000] * 5000, "n": [1] * 5000})
    monkeypatch.setattr("nasi_ray.parquet_file._TABLE_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"^table .*t.parquet: it takes more than 0.0 GB of memory"):
        TabularBenchmark.open(path)
    monkeypatch.setattr("nasi_ray.parquet_file._TABLE_BYTES", 10_000)
    with pytest.raises(
        DataError, match=r"row group 0 takes 0.0 GB of memory; at most 0.0 GB is al"
    ):
        TabularBenchmark.open(path)


def test_limits_change_no_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "text": ["a" * int(n) for n in rng.integers(0, 50, 1000)],
            "lists": [[float(n)] * int(n % 4) for n in rng.integers(0, 50, 1000)],
            "n": rng.integers(0, 9, 1000),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=300)
    assert read_table(tmp_path / "t.parquet").equals(table)
    for most_rows, most_bytes in ((1, 1 << 20), (7, 1 << 20), (1000, 1), (1000, 1 << 30)):
        with open_parquet(tmp_path / "t.parquet") as file:
            batches = list(read_batches(file, None, most_rows=most_rows, most_bytes=most_bytes))
        assert max(map(len, batches)) <= most_rows
        assert pa.Table.from_batches(batches).equals(table)
