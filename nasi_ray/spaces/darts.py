"""The DARTS space (App. B.2): one operation and one input per node while searching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.errors import UnknownNameError
from nasi_ray.spaces.base import Decision, SearchSpace
from nasi_ray.spaces.genotype import DARTS_OPS, NUM_INPUT_NODES, Edge, Genotype

NUM_NODES = 4
CELL_TYPES = ("normal", "reduce")
PAIRINGS = ("rank", "shared-op")
NETWORKS = "nasi_ray.networks.darts:networks"


def input_names(node: int) -> tuple[str, ...]:
    """Names of the nodes that intermediate node ``node`` (from 0) may take as input."""
    return ("c_{k-2}", "c_{k-1}", *(f"node{i}" for i in range(node)))


class DartsSpace(SearchSpace):
    """4·7 operation logits and 2+3+4+5 input logits for each of two cell types: 84 in all."""

    @property
    def name(self) -> str:
        """``darts``."""
        return "darts"

    @property
    def pairings(self) -> tuple[str, ...]:
        """``rank`` and ``shared-op``."""
        return PAIRINGS

    @property
    def networks(self) -> str:
        """See ``SearchSpace``."""
        return NETWORKS

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Per cell type and node: ``<type>/node<i>/op``, then ``<type>/node<i>/input``."""
        return _DECISIONS

    @property
    def cell_types(self) -> Mapping[str, Sequence[int]]:
        """``normal`` and ``reduce``, with 8 decisions each."""
        per_type = 2 * NUM_NODES
        return {
            cell_type: range(i * per_type, (i + 1) * per_type)
            for i, cell_type in enumerate(CELL_TYPES)
        }

    def select(self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank") -> Genotype:
        """Keep each node's two best inputs and operations (App. B.2).

        Args:
            alpha: Decision name -> logits.
            pairing: ``rank`` pairs best with best and second with second; ``shared-op`` puts the
                best operation on both inputs. Ties go to the candidate that comes first.

        Raises:
            UnknownNameError: If ``pairing`` is neither.
        """
        if pairing not in PAIRINGS:
            raise UnknownNameError("pairing", pairing, list(PAIRINGS))
        concat = tuple(range(NUM_INPUT_NODES, NUM_INPUT_NODES + NUM_NODES))
        normal, reduce = (_select_cell(alpha, t, pairing) for t in CELL_TYPES)
        return Genotype(normal=normal, normal_concat=concat, reduce=reduce, reduce_concat=concat)


DARTS = DartsSpace()

_DECISIONS = tuple(
    decision
    for cell_type in CELL_TYPES
    for node in range(NUM_NODES)
    for decision in (
        Decision(f"{cell_type}/node{node}/op", DARTS_OPS, num_kept=2),
        Decision(f"{cell_type}/node{node}/input", input_names(node), num_kept=2),
    )
)


def _select_cell(alpha: Mapping[str, FloatArray], cell_type: str, pairing: str) -> tuple[Edge, ...]:
    edges: list[Edge] = []
    for node in range(NUM_NODES):
        ops = np.argsort(-alpha[f"{cell_type}/node{node}/op"], kind="stable")[:2]
        inputs = np.argsort(-alpha[f"{cell_type}/node{node}/input"], kind="stable")[:2]
        if pairing == "shared-op":
            ops = ops[[0, 0]]
        edges += [(DARTS_OPS[op], int(i)) for op, i in zip(ops, inputs, strict=True)]
    return tuple(edges)
