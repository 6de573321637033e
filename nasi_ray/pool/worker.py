"""The Ray actor that evaluates samples: a thin shell round a plain function."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from nasi_ray.pool.reasons import one_line

Reply = tuple[list[tuple[int, Any]], list[tuple[int, str]], float]
"""(index, result) of what worked, (index, reason) of what raised, seconds spent."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Worker:
    """Evaluates samples with what the factory made.

    The constructor does nothing: what takes long or may fail is in ``prepare``, whose exceptions
    reach the driver as they are, and a worker that has its place is told from one that waits.
    """

    def __init__(self) -> None:
        self._evaluate: Callable[[int], Any] | None = None

    @ray.method
    def hello(self) -> tuple[str, str]:
        """Say that the process is up.

        Returns:
            The id of its node (hex), and its place, for people too: the node, and its GPUs if it
            has any.
        """
        context = ray.get_runtime_context()
        node = str(context.get_node_id())
        gpus = ", ".join(context.get_accelerator_ids().get("GPU", ()))
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        place = f"node {address} ({node[:8]})"
        return node, f"{place}, GPU {gpus}" if gpus else place

    @ray.method
    def prepare(self, factory: Callable[..., Callable[[int], Any]], *args: Any) -> None:
        """Make the function that evaluates samples."""
        self._evaluate = factory(*args)

    @ray.method
    def evaluate(self, indices: Sequence[int]) -> Reply:
        """Evaluate samples one after the other; one that raises does not stop the others."""
        assert self._evaluate is not None
        results: list[tuple[int, Any]] = []
        errors: list[tuple[int, str]] = []
        start = time.perf_counter()
        for index in indices:
            try:
                results.append((index, self._evaluate(index)))
            except Exception as error:
                errors.append((index, one_line(error)))
        return results, errors, time.perf_counter() - start


def worker_options(cpus: int, gpus: float, labels: Mapping[str, str]) -> dict[str, Any]:
    """Actor options of one worker: the pool recovers from losses, so Ray must not.

    Args:
        cpus: CPUs, and threads.
        gpus: GPUs, or a fraction of one.
        labels: Label -> condition of the nodes it may run on.

    The thread counts are in the environment before the process starts, because libraries read
    them when they are imported, and pickled arguments may import anything.
    """
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "label_selector": dict(labels),
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": {"env_vars": {name: str(cpus) for name in THREAD_VARIABLES}},
    }
