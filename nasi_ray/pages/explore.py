"""What the page needs to select another cell: the samples of e, or α at several T.

``page.js`` repeats eq. 18 (``nasi.estimator``) operation by operation, in double precision and in
index order, so that its cell is Python's. Where it cannot, it shows answers that Python made.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError
from nasi_ray.nasi.estimates import make_estimate
from nasi_ray.nasi.estimator import GradientEstimate, squared_norms
from nasi_ray.pages.lanes import Slot, lanes_of
from nasi_ray.records.rows import SampleTable, SearchRecords
from nasi_ray.spaces.base import SearchSpace

MAX_NUMBERS = 200_000
"""Entries of all gradients that a page takes along; 2 MB."""
_NUM_STEPS = 12

Steps = Sequence[tuple[int, FloatArray]]


def steps_of(
    records: SearchRecords, space: SearchSpace, config: EstimateConfig, identity: Mapping[str, Any]
) -> Steps:
    """α with the first T samples, for some T up to all.

    Args:
        records: Of the search.
        space: Its space.
        config: Settings of the estimate.
        identity: What the samples were made with.

    Returns:
        T and α, shape (num_logits,). A T that gives no answer is left out.
    """
    total = config.num_samples
    wanted = np.unique(np.geomspace(min(total, 5), total, _NUM_STEPS).round().astype(int))
    found = []
    for num in wanted.tolist():
        part = dataclasses.replace(config, num_samples=num)
        try:
            estimate = make_estimate(records, space, part, identity, num_draws=0)
        except NasiRayError:
            continue  # no good sample among so few
        found.append((num, estimate.alpha))
    return found


def explorer_of(
    space: SearchSpace, slots: Sequence[Slot], steps: Sequence[tuple[int | str, FloatArray]]
) -> dict[str, Any]:
    """The content of an ``Explorer``.

    Args:
        space: The space.
        slots: Rows of its diagram.
        steps: Label and α of every answer to choose from; the last is that of the run.
    """
    return {
        "choose": "",
        "replay": None,
        "decisions": [
            {"name": d.name, "candidates": d.candidates, "kept": d.kept} for d in space.decisions
        ],
        "slots": list(slots),
        "lanes": lanes_of(space) if slots else {},
        "steps": [{"label": label, "alpha": _packed(alpha)} for label, alpha in steps],
    }


def replay_of(
    samples: SampleTable, config: EstimateConfig, estimate: GradientEstimate
) -> dict[str, Any]:
    """What ``page.js`` needs to estimate α again.

    Args:
        samples: e and its gradient.
        config: Settings of the estimate.
        estimate: Its answer.
    """
    used = samples.below(config.num_samples)
    e, grad = used.trace_norm[used.ok], used.grad[used.ok]
    return {
        "index": used.index[used.ok].tolist(),
        "e": _packed(e),
        "grad": _packed(grad),
        "squared": _packed(squared_norms(grad)),
        "method": config.method,
        "nu": None if config.nu == "sweep" else float(estimate.nu[0]),
        "follows": isinstance(config.nu, str),
        "mu": config.mu,
        "xi": config.xi,
        "normalize": config.normalize,
        "epsilon": config.norm_epsilon,
        "low": float(e.min()),
        "high": float(max(e.max(), estimate.nu[0])),
    }


def can_replay(samples: SampleTable, config: EstimateConfig) -> bool:
    """Whether the page can repeat an estimate: eq. 18 without limits of size, of few numbers."""
    is_plain = config.max_params is None and config.max_madds is None
    return (
        config.estimator == "straight-through"
        and is_plain
        and 0 < samples.below(config.num_samples).grad.size <= MAX_NUMBERS
    )


def _packed(numbers: FloatArray) -> str:
    """Doubles, little endian, in base64: every bit."""
    data: npt.NDArray[np.float64] = np.ascontiguousarray(numbers, dtype="<f8")
    return base64.b64encode(data.tobytes()).decode()
