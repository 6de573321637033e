"""Made-up records of S1, and a table made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.spaces.nb1shot1 import S1, NB1Shot1Architecture
from nasi_ray.tables import TabularBenchmark
from nasi_ray.tables.accuracies import Accuracies


def a_sample(index: int, *, e: float, grad: FloatArray, choices: IntArray) -> Sample:
    return Sample(index=index, status="ok", trace_norm=e, grad=grad, choices=choices)


def random_choices(rng: np.random.Generator) -> IntArray:
    chosen = [rng.permutation(d.size)[: d.num_chosen] for d in S1.decisions]
    return np.concatenate(chosen).astype(np.int64)


def records(
    num: int,
    *,
    seed: int = 0,
    e: Callable[[int], float] | None = None,
    grad: FloatArray | None = None,
) -> SampleTable:
    """Samples with choices of ``seed`` alone; e and gradients as given, or at random."""
    rng, choices = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    samples = []
    for i in range(num):
        drawn = rng.lognormal(), rng.normal(size=S1.num_logits)
        samples.append(
            a_sample(
                i,
                e=e(i) if e else drawn[0],
                grad=drawn[1] if grad is None else grad,
                choices=random_choices(choices),
            )
        )
    return SampleTable.from_samples(samples, S1.num_logits)


def toward(architecture: NB1Shot1Architecture) -> FloatArray:
    """A gradient whose direction selects an architecture, with no ties."""
    alpha = []
    for decision in S1.decisions:
        node, _, kind = decision.name.partition("/")
        position = len(architecture.ops) if node == "output" else int(node[5:]) - 1
        if kind == "op":
            wanted = {decision.candidates.index(architecture.ops[position])}
        else:
            wanted = set(architecture.parents[position])
        alpha += [(2.0 if j in wanted else 1.0) + 0.01 * j for j in range(decision.size)]
    return np.array(alpha)


@cache
def s1_accuracies() -> Accuracies:
    """Error in percent of an architecture: 1 + 0.001 · its first position with that hash."""
    hashes = S1.hashes()
    first: dict[bytes, int] = {}
    for position, digest in enumerate(hashes):
        first.setdefault(digest.tobytes(), position)
    table = pa.table(
        {
            "hash": pa.array(list(first), pa.binary(16)),
            "test_accuracy": pa.array([0.99 - 1e-5 * i for i in first.values()], pa.float64()),
        }
    )
    benchmark = TabularBenchmark(table, "made up")
    return Accuracies(space=S1, benchmark=benchmark, metric=benchmark.metric("test"))
