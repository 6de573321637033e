from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasi_ray.config import PATH, EstimateConfig
from nasi_ray.errors import NoGoodSamplesError
from nasi_ray.records.rows import Measurement, SearchRecords
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.spaces.options import chosen_candidates
from nasi_ray.study.cells import select_cells
from tests.contracts.records import measurement_table
from tests.study.cases import random_choices, records, toward

CONFIG = EstimateConfig(num_samples=20, nu=1e9, mu=0.0, normalize="each")
CELL = S1.architecture(1234)
RELATIVE = EstimateConfig(num_samples=200, objective="relative", estimator="score-function")
NUM_DECISIONS = sum(d.size > d.kept for d in S1.decisions)


def searches(num: int, **made: Any) -> dict[int, SearchRecords]:
    return {s: SearchRecords(samples=records(20, seed=s, **made)) for s in range(num)}


def measured(seed: int, *, noise: float) -> SearchRecords:
    """Samples whose scale-free trace norm grows with the choices that they share with ``CELL``."""
    rng = np.random.default_rng(seed)
    wanted = toward(CELL) >= 2.0
    rows = []
    for index in range(200):
        choices = random_choices(rng)
        chosen = chosen_candidates(choices[None].astype(np.int16), S1)[0]
        shared = float(chosen @ wanted) + noise * rng.normal()
        values = {
            "relative_trace_norm": float(np.exp(shared)),
            "logit_variance": 1.0,
            "ntk_trace_estimate": 1.0,
        }
        rows.append(Measurement(index=index, status="ok", values=values, choices=choices))
    return SearchRecords(measurements={PATH: measurement_table(rows)})


def test_cells_of_an_objective_of_measurements_are_significant_as_far_as_they_are_measured() -> (
    None
):
    clear = select_cells({s: measured(s, noise=0.0) for s in range(3)}, RELATIVE, S1)
    for cell in (*clear.cells, clear.consensus):
        assert cell.fields == {"architecture": CELL.to_string(), "hash": CELL.hash()}
        assert (cell.num_significant, cell.num_decisions) == (NUM_DECISIONS, NUM_DECISIONS)
    noisy = select_cells({s: measured(s, noise=100.0) for s in range(3)}, RELATIVE, S1)
    assert all((cell.num_significant or 0) < NUM_DECISIONS for cell in noisy.cells)


def test_a_seed_without_measurements_is_an_error() -> None:
    with pytest.raises(NoGoodSamplesError, match="none of the 0 measurements is usable"):
        select_cells({0: SearchRecords(measurements={PATH: measurement_table([])})}, RELATIVE, S1)


def test_samples_that_agree_make_every_decision_significant() -> None:
    found = select_cells(searches(3, grad=toward(CELL)), CONFIG, S1)
    for cell in (*found.cells, found.consensus):
        assert cell.fields == {"architecture": CELL.to_string(), "hash": CELL.hash()}
        assert cell.num_params == CELL.num_params()
        assert (cell.num_significant, cell.num_decisions) == (NUM_DECISIONS, NUM_DECISIONS)
        assert cell.tied == ()


def test_noise_makes_few_decisions_significant() -> None:
    found = select_cells(searches(3), CONFIG, S1)
    significant = [cell.num_significant for cell in found.cells if cell.num_significant is not None]
    assert len(significant) == 3
    assert max(significant) < NUM_DECISIONS


def test_the_consensus_of_one_seed_has_no_standard_error() -> None:
    found = select_cells(searches(1, grad=toward(CELL)), CONFIG, S1)
    assert found.cells[0].num_significant == NUM_DECISIONS
    assert found.consensus.num_significant is None
    assert found.consensus.fields == found.cells[0].fields


def test_ties_are_named() -> None:
    (cell,) = select_cells(searches(1, grad=np.zeros(S1.num_logits)), CONFIG, S1).cells
    assert len(cell.tied) == NUM_DECISIONS
    assert cell.num_significant == 0
