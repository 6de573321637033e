"""Samples made up for tests, and their comparison to the bit."""

from __future__ import annotations

import numpy as np

from nasi_ray.records.rows import Sample, SampleTable

NUM_LOGITS = 5


def a_sample(index: int, *, failed: bool = False, num_logits: int = NUM_LOGITS) -> Sample:
    """The same sample for the same arguments."""
    rng = np.random.default_rng([index, num_logits])
    grad = rng.normal(size=num_logits)
    return Sample(
        index=index,
        status="failed" if failed else "ok",
        trace_norm=float("nan") if failed else float(rng.exponential()),
        grad=np.full(num_logits, np.nan) if failed else grad,
        choices=rng.integers(0, 8, size=4),
        error=f"overflow in {index}" if failed else "",
        seconds=float(rng.uniform()),
        worker="worker-0",
    )


def assert_same_table(one: SampleTable, other: SampleTable) -> None:
    for name in ("index", "ok", "trace_norm", "grad", "seconds"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        assert a.tobytes() == b.tobytes(), name
    assert one.errors == other.errors
    assert one.choices.dtype == other.choices.dtype
    assert one.choices.tolist() == other.choices.tolist()
