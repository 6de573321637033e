from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasi_ray.config import SampleConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.evaluator import SubNetworks
from nasi_ray.spaces.nb1shot1 import S1, NB1Shot1Architecture
from nasi_ray.study.accuracies import SpaceReference, sampled_architectures, sampled_cells
from nasi_ray.tables.accuracies import open_accuracies
from tests.study.cases import records, s1_accuracies


def test_choices_name_the_architecture_that_was_evaluated() -> None:
    evaluator = SubNetworks(
        SampleConfig(space="s1", batch_size=2, image_size=8, init_channels=1, num_cells=3),
        None,
        device="cpu",
    )
    for index in range(10):
        drawn = evaluator.architecture(index)
        (found,) = sampled_architectures(drawn.choices[None].astype(np.int16), S1)
        assert isinstance(found, NB1Shot1Architecture)
        for d, decision in enumerate(S1.decisions):
            node, _, kind = decision.name.partition("/")
            position = len(found.ops) if node == "output" else int(node[5:]) - 1
            taken = drawn.chosen[0, d]
            if kind == "op":
                assert found.ops[position] == decision.candidates[taken[0]]
            else:
                assert found.parents[position] == tuple(sorted(taken))


def test_samples_with_a_draw_per_cell_are_no_cells_of_the_table() -> None:
    with pytest.raises(ConfigError, match="--sample-per step"):
        sampled_architectures(np.zeros((3, 36), dtype=np.int16), S1)


def test_sampled_cells_have_their_errors_and_parameters() -> None:
    table = records(12)
    table.ok[4] = False
    found = sampled_cells(table, 10, s1_accuracies())
    assert found.index.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert found.trace_norm.tolist() == table.trace_norm[found.index].tolist()
    (first,) = sampled_architectures(table.choices[:1], S1)
    assert found.error_percent[0] == s1_accuracies().errors_percent([first])[0]
    assert found.num_params[0] == first.num_params()


def test_the_reference_is_of_the_whole_space() -> None:
    reference = SpaceReference(s1_accuracies())
    errors = s1_accuracies().errors_percent(list(S1))
    np.testing.assert_array_equal(reference.errors, errors)
    assert reference.best == errors.min()
    assert reference.expected == pytest.approx(errors.mean())
    assert reference.best_of(1) == pytest.approx(reference.expected)
    rng = np.random.default_rng(0)
    simulated = rng.choice(errors, size=(20_000, 5)).min(axis=1).mean()
    assert reference.best_of(5) == pytest.approx(simulated, rel=0.02)
    assert reference.best_of(1_000_000) == pytest.approx(reference.best)
    assert reference.share_better(reference.best) == 0.0
    assert reference.share_better(errors.max() + 1) == 1.0


def test_cells_with_most_parameters_are_all_of_them() -> None:
    reference = SpaceReference(s1_accuracies())
    counts = np.array([a.num_params() for a in S1])
    np.testing.assert_array_equal(reference.num_params, counts)
    num_params, mean, std, num = reference.most_parameters
    assert num_params == counts.max()
    largest = [S1.architecture(int(i)) for i in np.flatnonzero(counts == num_params)]
    errors = s1_accuracies().errors_percent(largest)
    assert (len(largest), errors.mean(), errors.std()) == (num, mean, std)


def test_the_best_of_s1_is_the_known_one(data_dir: Path) -> None:
    reference = SpaceReference(open_accuracies("s1", str(data_dir), ""))
    assert reference.best == pytest.approx(5.79928, abs=1e-4)
    assert len(reference.errors) == 14_580
