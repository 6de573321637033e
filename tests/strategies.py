"""Hypothesis strategies for what the package's functions take."""

from __future__ import annotations

from hypothesis import strategies as st

from nasi_ray.config import EstimateConfig
from nasi_ray.records.rows import Sample
from nasi_ray.spaces.darts import NUM_NODES
from nasi_ray.spaces.genotype import GENOTYPE_OPS, NUM_INPUT_NODES, Edge, Genotype
from tests.contracts.samples import a_sample
from tests.nasi.cases import Setting

SEEDS = st.integers(0, 2**31)


def supernet_settings() -> st.SearchStrategy[Setting]:
    """Small DARTS supernets of every kind, odd image sizes included."""
    return st.builds(
        Setting,
        init_channels=st.integers(1, 4),
        num_cells=st.integers(3, 5),
        batch_size=st.integers(2, 5),
        image_size=st.integers(8, 16),
        sample_per=st.sampled_from(["step", "cell"]),
        loss=st.sampled_from(["cross-entropy", "mse"]),
        temperature=st.floats(0.2, 5.0),
        seed=SEEDS,
    )


@st.composite
def _cells(draw: st.DrawFn) -> tuple[tuple[Edge, ...], tuple[int, ...]]:
    num_nodes = draw(st.integers(1, NUM_NODES))
    edges = tuple(
        (draw(st.sampled_from(GENOTYPE_OPS)), draw(st.integers(0, node + NUM_INPUT_NODES - 1)))
        for node in range(num_nodes)
        for _ in range(2)
    )
    nodes = st.integers(NUM_INPUT_NODES, NUM_INPUT_NODES + num_nodes - 1)
    return edges, tuple(draw(st.lists(nodes, min_size=1, unique=True)))


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    """DARTS cells of one to four nodes."""
    (normal, normal_concat), (reduce, reduce_concat) = draw(_cells()), draw(_cells())
    return Genotype(
        normal=normal, normal_concat=normal_concat, reduce=reduce, reduce_concat=reduce_concat
    )


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Up to 30 samples of which the first is good, in order, with gaps, some failed."""
    indices = draw(st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True))
    failed = draw(st.lists(st.booleans(), min_size=len(indices), max_size=len(indices)))
    return [
        a_sample(index, failed=bad and position > 0)
        for position, (index, bad) in enumerate(zip(sorted(indices), failed, strict=True))
    ]


def estimate_configs() -> st.SearchStrategy[EstimateConfig]:
    """Estimates of every kind; the trace norms of ``samples`` are about 1, and so is ν."""
    return st.builds(
        EstimateConfig,
        num_samples=st.just(61),
        method=st.sampled_from(["fix", "ada"]),
        nu=st.one_of(st.sampled_from(["auto", "sweep", "q10", "q62.5"]), st.floats(0, 3)),
        mu=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        xi=st.floats(0.1, 10),
        normalize=st.sampled_from(["max", "each"]),
        norm_epsilon=st.sampled_from([0.0, 1e-5]),
    )
