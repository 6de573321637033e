"""Damaged files of every kind that is read: a result or one of our errors, in bounded memory.

Records are in ``tests/records/test_fuzz.py``. A hang ends with the time limit of pytest.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nasi_ray.data.decode import FORMATS, decode
from nasi_ray.data.load import load_images
from nasi_ray.pool.cost import load_prices
from nasi_ray.ranking.architectures import select_architectures
from nasi_ray.run.settings import read_settings
from nasi_ray.spaces import get_tabular_space
from nasi_ray.spaces.genotype import Genotype
from nasi_ray.tables.metric import nb201_metric
from nasi_ray.tables.table_file import make_table
from nasi_ray.tables.tabular import TabularBenchmark
from nasi_ray.tables.text import table_lines
from tests.data.encoded import encode, pixels, png, write_parquet
from tests.fuzzing import is_read, mutants

Use = Callable[[Path], object]
MOST_BYTES = 1 << 30
FEW, MANY = 12, 700

CELL = Genotype(
    normal=(("sep_conv_3x3", 0), ("skip_connect", 1)) * 4,
    normal_concat=(2, 3, 4, 5),
    reduce=(("max_pool_3x3", 0), ("dil_conv_5x5", 1)) * 4,
    reduce_concat=(2, 3, 4, 5),
)


def image(image_format: str, folder: Path) -> bytes:
    picture = Image.fromarray(pixels(1, 16, 12))
    return encode(picture.quantize(16) if image_format == "GIF" else picture, image_format)


def data_set(folder: Path, **options: Any) -> bytes:
    labels = ["cat", "dog"] * 4 if "label_type" in options else [0, 1] * 4
    path = write_parquet(folder / "a.parquet", [png(i) for i in range(8)], labels, **options)
    return path.read_bytes()


def table(folder: Path) -> bytes:
    space = get_tabular_space("nb201")
    cells = [space.architecture(i).to_string() for i in range(20)]
    lists = nb201_metric("cifar10", "valid", 12, num_trials=None)
    columns: dict[str, Any] = {
        "arch": (pa.array(cells), None),
        "cifar10_test_accuracy_12ep": (pa.array(np.linspace(10, 90, 20)), None),
        lists.column: (pa.array([[float(i)] * (i % 4) for i in range(20)]), lists),
    }
    pq.write_table(make_table(columns), folder / "t.parquet")
    return (folder / "t.parquet").read_bytes()


def cells(folder: Path) -> bytes:
    matrix = "[[0, 1, 1], [0, 0, 1], [0, 0, 0]], ['input', 'conv3x3', 'output']"
    cell = get_tabular_space("s1").architecture(7)
    return "\n".join(
        [cell.to_string(), cell.hash(), f'3,"{cell.to_string()}",0.9', matrix]
    ).encode()


FILES: dict[str, tuple[Callable[[Path], bytes], str, Use]] = {
    **{
        name: (partial(image, name), "x", lambda path: decode(path.read_bytes(), 8, "x"))
        for name in FORMATS
    },
    "Parquet": (
        partial(data_set, class_names="ab"),
        "a.parquet",
        lambda path: load_images(str(path), image_size=8),
    ),
    "Parquet with text labels": (
        partial(data_set, label_type=pa.string()),
        "b.parquet",
        lambda path: load_images(str(path), image_size=8),
    ),
    "table": (table, "t.parquet", lambda path: table_lines(TabularBenchmark.open(path))),
    "genotype in JSON": (
        lambda folder: CELL.to_json().encode(),
        "g.json",
        lambda path: Genotype.from_json(path.read_text(errors="surrogateescape")),
    ),
    "genotype in any notation": (
        lambda folder: CELL.to_darts().encode(),
        "g.txt",
        lambda path: Genotype.parse(path.read_text(errors="surrogateescape")),
    ),
    "architectures": (cells, "cells.txt", lambda path: select_architectures("s1", str(path))),
    "prices": (
        lambda folder: b'{"head": 0.19, "gpu": 4.5}',
        "prices.json",
        lambda path: load_prices(str(path)),
    ),
    "settings": (
        lambda folder: b"job: search\nmu: 2.0\nseeds: [1, 2]\n",
        "s.yaml",
        lambda path: read_settings(str(path), "search"),
    ),
}


@pytest.mark.parametrize(
    "number", [FEW, pytest.param(MANY, marks=[pytest.mark.fuzz, pytest.mark.timeout(120)])]
)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_read_or_named(tmp_path: Path, kind: str, number: int) -> None:
    make, name, use = FILES[kind]
    good, path = make(tmp_path), tmp_path / name
    path.write_bytes(good)
    assert is_read(partial(use, path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for damaged in mutants(good, number, seed=5):
        path.write_bytes(damaged)
        is_read(partial(use, path))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_BYTES
