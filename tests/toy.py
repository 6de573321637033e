"""A toy run for tests of the search: synthetic samples, a counting evaluator, a quiet progress."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nasi_ray.progress import ProgressState
from nasi_ray.records.rows import Sample
from nasi_ray.spaces import get_space

SPACE = get_space("darts")


def toy_sample(index: int) -> Sample:
    """A good sample whose numbers follow from its index alone."""
    rng = np.random.default_rng(index)
    return Sample(
        index=index,
        status="ok",
        trace_norm=float(rng.lognormal(3.0)),
        grad=rng.standard_normal(SPACE.num_logits),
        choices=rng.integers(0, 2, size=len(SPACE.decisions)),
        seconds=0.001,
        worker="toy",
    )


@dataclass
class Quiet:
    """A progress display that remembers what it was told."""

    states: list[ProgressState] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def update(self, state: ProgressState) -> None:
        self.states.append(state)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def close(self) -> None:
        """Nothing to do."""
