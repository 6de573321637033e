from __future__ import annotations

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.study.cells import select_cells
from tests.study.cases import records, toward

CONFIG = EstimateConfig(num_samples=20, nu=1e9, mu=0.0, normalize="each")
CELL = S1.architecture(1234)
NUM_DECISIONS = sum(d.size > d.kept for d in S1.decisions)


def test_samples_that_agree_make_every_decision_significant() -> None:
    found = select_cells([records(20, seed=s, grad=toward(CELL)) for s in range(3)], CONFIG, S1)
    for cell in (*found.cells, found.consensus):
        assert cell.fields == {"architecture": CELL.to_string(), "hash": CELL.hash()}
        assert cell.num_params == CELL.num_params()
        assert (cell.num_significant, cell.num_decisions) == (NUM_DECISIONS, NUM_DECISIONS)
        assert cell.tied == ()


def test_noise_makes_few_decisions_significant() -> None:
    found = select_cells([records(20, seed=s) for s in range(3)], CONFIG, S1)
    significant = [cell.num_significant for cell in found.cells if cell.num_significant is not None]
    assert len(significant) == 3
    assert max(significant) < NUM_DECISIONS


def test_the_consensus_of_one_seed_has_no_standard_error() -> None:
    found = select_cells([records(20, grad=toward(CELL))], CONFIG, S1)
    assert found.cells[0].num_significant == NUM_DECISIONS
    assert found.consensus.num_significant is None
    assert found.consensus.fields == found.cells[0].fields


def test_ties_are_named() -> None:
    (cell,) = select_cells([records(5, grad=np.zeros(S1.num_logits))], CONFIG, S1).cells
    assert len(cell.tied) == NUM_DECISIONS
    assert cell.num_significant == 0
