"""The settings with which stored samples are answered, where they were measured unequally often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nasi_ray.config import PATH
from nasi_ray.records.rows import SearchRecords
from nasi_ray.replay.job import common_config
from nasi_ray.search.run import Run
from nasi_ray.spaces import get_space
from tests.nasi.test_estimates import records_of

S1 = get_space("s1")


def a_run(num_gradients: int | None, num_measured: int | None) -> Run:
    """Samples of s1: so many with e and its gradient, so many with measurements; None: no table."""
    whole = records_of(S1)
    assert whole.samples is not None
    path = whole.measurements[PATH]
    records = SearchRecords(
        samples=None if num_gradients is None else whole.samples.below(num_gradients),
        measurements={} if num_measured is None else {PATH: path.below(num_measured)},
    )
    settings = {"space": "s1", "seed": 0, "temperature": 1.0, "sample_per": "step"}
    return Run(uri="run", space="s1", records=records, settings=settings)


@pytest.mark.parametrize(
    ("settings", "num_samples"),
    [
        ({}, 8),
        ({"objective": "trace-norm"}, 8),
        ({"estimator": "second-order"}, 8),
        ({"objective": "panel"}, 60),
        ({"objective": "relative", "estimator": "score-function"}, 60),
        ({"objective": "panel", "num_samples": 5}, 5),
        ({"num_samples": 7}, 7),
    ],
)
def test_an_estimate_takes_all_samples_with_what_it_reads(
    settings: dict[str, Any], num_samples: int
) -> None:
    run = a_run(8, 60)
    config = run.config(**settings)
    assert config.num_samples == num_samples
    assert run.num_samples == 60
    run.check(config)
    assert run.result(**settings).content["num_samples"] == num_samples


def test_what_a_run_lacks_leaves_the_number_to_what_it_has() -> None:
    assert a_run(None, 20).config().num_samples == 20
    assert a_run(20, None).config().num_samples == 20
    assert a_run(None, 20).config(objective="trace-norm").num_samples == 20
    assert a_run(20, None).config(objective="panel").num_samples == 20
    assert a_run(None, None).config().num_samples == 1


@pytest.mark.parametrize(
    ("settings", "num_samples"),
    [({}, 8), ({"objective": "panel"}, 20), ({"objective": "panel", "num_samples": 4}, 4)],
)
def test_runs_have_in_common_the_fewest_samples_with_what_is_read(
    settings: dict[str, Any], num_samples: int
) -> None:
    runs = [a_run(8, 60), a_run(30, 20)]
    for given in (runs, runs[::-1]):
        found = common_config(given, settings)
        assert found.num_samples == num_samples
        assert found == replace(runs[0].config(**settings), num_samples=num_samples)
        for run in given:
            run.check(found)
