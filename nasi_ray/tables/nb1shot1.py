"""Make the table of a NAS-Bench-1Shot1 space: its configurations with NAS-Bench-101's numbers."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pyarrow as pa

from nasi_ray.errors import DataError
from nasi_ray.spaces.nb1shot1 import OP_LETTERS, NB1Shot1Space
from nasi_ray.tables.metric import Metric
from nasi_ray.tables.table_file import check_source, make_table, replacing
from nasi_ray.tables.tabular import TabularBenchmark


def convert_nb1shot1(source: str | Path, target: str | Path, space: NB1Shot1Space) -> int:
    """Join a space's configurations with a NAS-Bench-101 table by their hashes.

    The table has ``parents``, ``ops``, ``hash`` and all of the source's accuracies, one row per
    configuration, in the order of ``NB1Shot1Space.all_architectures``.

    Args:
        source: A table that ``convert_nasbench101`` wrote, or any with hashes and accuracies.
        target: Parquet file to write; replaced only when the join has succeeded.
        space: S1, S2 or S3.

    Returns:
        Number of configurations.

    Raises:
        DataError: If the source is missing, is another kind of table, or lacks configurations
            (says how many), or the target cannot be written.
    """
    path = check_source(source, target)
    with replacing(target) as write:
        benchmark = TabularBenchmark.open(path)
        if benchmark.key != "hash" or not benchmark.metrics:
            raise DataError(f"{source} has no NAS-Bench-101 hashes with accuracies")
        write(join(benchmark, space))
    return space.num_architectures


def join(benchmark: TabularBenchmark, space: NB1Shot1Space) -> pa.Table:
    """The rows of ``convert_nb1shot1``.

    Raises:
        DataError: If the table lacks configurations; says how many.
    """
    hashes = space.hashes()
    try:
        rows = benchmark.rows(hashes)
    except DataError as error:
        raise DataError(f"{space.name} needs all of its configurations: {error}") from error
    parents, ops = _notation(space)
    flat = pa.py_buffer(np.ascontiguousarray(hashes))
    digests = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(hashes), [None, flat])
    columns: dict[str, tuple[pa.Array | pa.ChunkedArray, Metric | None]] = {
        "parents": (parents, None),
        "ops": (ops, None),
        "hash": (digests, None),
    }
    for metric in benchmark.metrics.values():
        columns[metric.column] = (benchmark.take(metric, rows), metric)
    return make_table(columns)


def _notation(space: NB1Shot1Space) -> tuple[pa.Array, pa.Array]:
    """The two columns of strings: parents vary slowest, the last of each fastest."""
    nodes = [
        [",".join(map(str, chosen)) for chosen in combinations(range(node), num_chosen)]
        for node, num_chosen in enumerate(space.num_parents, start=1)
    ]
    parents = [";".join(sets) for sets in product(*nodes)]
    ops = [",".join(letters) for letters in product(OP_LETTERS, repeat=space.num_blocks)]
    return (
        pa.array(np.repeat(np.array(parents, dtype=object), len(ops)), pa.string()),
        pa.array(np.tile(np.array(ops, dtype=object), len(parents)), pa.string()),
    )
