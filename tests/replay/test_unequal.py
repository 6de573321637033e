"""Runs that have gradients of some samples and measurements of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasi_ray
from nasi_ray.config import PATH, PATH_MEASUREMENTS
from nasi_ray.nasi.gumbel import sample_architecture
from nasi_ray.records.identity import IdentityValue
from nasi_ray.records.measurement_rows import MeasurementRows
from nasi_ray.records.rows import Measurement, Sample
from nasi_ray.records.sample_rows import SampleRows
from nasi_ray.records.store import RecordStore
from nasi_ray.seeding import generator
from nasi_ray.spaces import get_space
from nasi_ray.storage import LocalStorage

S1 = get_space("s1")


def make_run(path: Path, *, seed: int, num_gradients: int, num_measured: int) -> str:
    """A run with random numbers."""
    identity: dict[str, IdentityValue] = {
        "space": "s1", "seed": seed, "temperature": 1.0, "sample_per": "step",
    }  # fmt: skip
    rng = np.random.default_rng(seed)
    choices = [
        sample_architecture(
            S1, ["any"], generator(seed, "gumbel", t), sample_per="step", temperature=1.0
        ).choices
        for t in range(max(num_gradients, num_measured))
    ]
    storage = LocalStorage(path)
    RecordStore.open(storage, identity=identity, rows=SampleRows(S1.num_logits)).append(
        [
            Sample(index=t, status="ok", trace_norm=float(rng.lognormal()),
                   grad=rng.standard_normal(S1.num_logits), choices=choices[t])
            for t in range(num_gradients)
        ]
    )  # fmt: skip
    rows = MeasurementRows(S1.num_logits, PATH)
    RecordStore.open(storage, identity=identity, rows=rows).append(
        [
            Measurement(index=t, status="ok", choices=choices[t],
                        values={name: float(rng.lognormal()) for name in PATH_MEASUREMENTS})
            for t in range(num_measured)
        ]
    )  # fmt: skip
    return storage.uri


@pytest.fixture
def unequal(tmp_path: Path) -> list[str]:
    """The run with the fewest gradients has the most measurements."""
    return [
        make_run(tmp_path / "one", seed=0, num_gradients=8, num_measured=60),
        make_run(tmp_path / "other", seed=1, num_gradients=30, num_measured=20),
    ]


@pytest.mark.parametrize(
    ("settings", "num_samples"),
    [({}, 8), ({"objective": "relative", "estimator": "score-function"}, 20)],
)
def test_replays_and_confidence_take_the_samples_that_every_run_has_of_what_is_read(
    unequal: list[str], settings: dict[str, Any], num_samples: int
) -> None:
    sure = nasi_ray.confidence(unequal, **settings)
    assert sure.config.num_samples == num_samples
    assert nasi_ray.confidence(unequal[::-1], **settings).config == sure.config
    found = nasi_ray.replay(unequal, {k: [v] for k, v in (settings or {"mu": 2.0}).items()})
    (point,) = found.content["points"]
    for uri, number in zip(unequal, point["cells"], strict=True):
        asked = nasi_ray.open_run(uri).cell(**settings, num_samples=num_samples)
        assert found.cells[number - 1].to_string() == asked.to_string()


def test_a_grid_of_objectives_takes_of_each_what_every_run_has(unequal: list[str]) -> None:
    found = nasi_ray.replay(unequal, {"objective": ["trace-norm", "panel"]})
    cells = [
        nasi_ray.open_run(uri).cell(objective=objective, num_samples=num).to_string()
        for objective, num in (("trace-norm", 8), ("panel", 20))
        for uri in unequal
    ]
    numbers = [number for point in found.content["points"] for number in point["cells"]]
    assert [found.cells[number - 1].to_string() for number in numbers] == cells
