"""The Ray actor that evaluates samples: a thin shell around a plain function."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from nasi_ray.pool.reasons import one_line

Reply = tuple[list[tuple[int, Any]], list[tuple[int, str]], float]
"""(index, result) of the samples that worked, (index, reason) of those that raised, seconds."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Worker:
    """Evaluates samples with the function that the factory made.

    The constructor does nothing. All that takes long or may fail is in ``prepare``: so its
    exceptions reach the driver unchanged, and ``hello`` tells a worker that is up from one that
    still waits for a node.
    """

    def __init__(self) -> None:
        self._evaluate: Callable[[int], Any] | None = None

    @ray.method
    def hello(self) -> tuple[str, str]:
        """Report that the process is up.

        Returns:
            The id of its node (hex), and a readable name of the node, with its GPUs if it has any.
        """
        context = ray.get_runtime_context()
        node = str(context.get_node_id())
        gpus = ", ".join(context.get_accelerator_ids().get("GPU", ()))
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        name = f"node {address} ({node[:8]})"
        return node, f"{name}, GPU {gpus}" if gpus else name

    @ray.method
    def prepare(self, factory: Callable[..., Callable[[int], Any]], *args: Any) -> None:
        """Call the factory, which makes the evaluating function."""
        self._evaluate = factory(*args)

    @ray.method
    def evaluate(self, indices: Sequence[int]) -> Reply:
        """Evaluate samples one by one; one that raises does not stop the others."""
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
    """Ray's options for the actor of one worker.

    Ray restarts and retries nothing, because the pool recovers from losses itself. The environment
    has the thread counts before the process starts, because libraries read them when they are
    imported, and unpickling the arguments may import anything.

    Args:
        cpus: CPUs, and threads.
        gpus: GPUs, or a fraction of one.
        labels: Label -> condition of the nodes it may run on.
    """
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "label_selector": dict(labels),
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": {"env_vars": {name: str(cpus) for name in THREAD_VARIABLES}},
    }
