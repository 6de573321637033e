"""A runner that observes the cluster's nodes, to know what a run cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import ray

from nasi_ray.pool.cost import CostMeter
from nasi_ray.runner import Runner, RunnerStatus

R = TypeVar("R")
_INTERVAL_S = 5.0


def list_nodes() -> list[Mapping[str, Any]]:
    """The entries of ``ray.nodes()`` of the connected cluster."""
    nodes: list[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


class MeteredRunner(Generic[R]):
    """Forwards to another runner, and observes the nodes while it runs."""

    def __init__(
        self,
        runner: Runner[R],
        meter: CostMeter,
        *,
        list_nodes: Callable[[], Sequence[Mapping[str, Any]]] = list_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner, self._meter = runner, meter
        self._list_nodes, self._clock = list_nodes, clock

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[R]]:
        """Run the other runner; observe the nodes at both ends and every few seconds.

        There is no last observation if the run breaks off: Ray may be shutting down, and would
        then never answer.
        """
        next_s = self._observe()
        for batch in self._runner.run(indices):
            if self._clock() >= next_s:
                next_s = self._observe()
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
        self._meter.observe(self._list_nodes(), now)
        return now + _INTERVAL_S
