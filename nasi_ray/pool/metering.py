"""A runner that looks at the cluster's nodes as it goes, for the cost of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import ray

from nasi_ray.pool.cost import CostMeter
from nasi_ray.runner import Runner, RunnerStatus

R = TypeVar("R")
_LOOK_S = 5.0


def list_nodes() -> list[Mapping[str, Any]]:
    """The connected cluster's nodes, as Ray lists them."""
    nodes: list[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


class MeteredRunner(Generic[R]):
    """Passes everything on to another runner, and meters the nodes while it runs."""

    def __init__(
        self,
        runner: Runner[R],
        meter: CostMeter,
        *,
        look: Callable[[], Sequence[Mapping[str, Any]]] = list_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner, self._meter, self._look, self._clock = runner, meter, look, clock

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[R]]:
        """As the other runner does; looks at the nodes at both ends and every few seconds.

        A run that breaks off is not looked at once more: Ray may be going down, and looking at it
        would then wait for ever.
        """
        next_look = self._observe()
        for batch in self._runner.run(indices):
            if self._clock() >= next_look:
                next_look = self._observe()
            yield batch
        self._observe()

    def status(self) -> RunnerStatus:
        """The other runner's workers."""
        return self._runner.status()

    def close(self) -> None:
        """Close the other runner."""
        self._runner.close()

    def _observe(self) -> float:
        now = self._clock()
        self._meter.observe(self._look(), now)
        return now + _LOOK_S
