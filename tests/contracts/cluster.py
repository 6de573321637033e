"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray
from ray.cluster_utils import Cluster

STORE_BYTES = 80 * 2**20


@contextmanager
def empty_cluster() -> Iterator[Cluster]:
    """A head without CPUs for workers, to which this process is connected; add nodes to it."""
    if ray.is_initialized():
        pytest.skip("this process is connected to another Ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False,
            },
        )  # fmt: skip
        try:
            ray.init(made.address, log_to_driver=False, logging_level=logging.ERROR)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()  # type: ignore[no-untyped-call]
