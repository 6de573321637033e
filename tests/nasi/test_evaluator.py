from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nasi_ray.config import SampleConfig
from nasi_ray.data.batches import RandomBatches, make_batches
from nasi_ray.device import resolve_device
from nasi_ray.errors import ConfigError
from nasi_ray.nasi import evaluator as evaluate
from nasi_ray.nasi.evaluator import Evaluator, SubNetworks, lost_sample, same_sample
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.nasi.reference import trace_norm_and_alpha_gradient
from nasi_ray.records.rows import Sample
from nasi_ray.search.names import SAMPLES
from nasi_ray.search.series import make_series_evaluator

CONFIG = SampleConfig(init_channels=2, num_cells=3, batch_size=4, image_size=12, num_classes=3)


def networks(config: SampleConfig = CONFIG) -> SubNetworks:
    return SubNetworks(config, None, device="cpu", worker="here")


def evaluator(config: SampleConfig = CONFIG) -> Evaluator:
    return Evaluator(networks(config))


@dataclass(frozen=True)
class SpoiledBatches:
    """Random batches in which one pixel of one sample's is infinite."""

    spoiled: int
    num_classes: int = 3

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        batches = RandomBatches(seed=0, batch_size=4, image_size=12, num_classes=3)
        x, y = batches.batch(index)
        if index == self.spoiled:
            x[1, 0, 5, 5] = torch.inf
        return x, y


def assert_failed(sample: Sample, index: int) -> None:
    assert sample.index == index
    assert sample.status == "failed"
    assert np.isnan(sample.trace_norm)
    assert sample.grad.shape == (84,)
    assert np.isnan(sample.grad).all()


def test_sample_has_everything_a_record_needs() -> None:
    sample = evaluator()(5)
    assert (sample.index, sample.status, sample.error, sample.worker) == (5, "ok", "", "here")
    assert sample.trace_norm > 0
    assert sample.grad.shape == (84,)
    assert sample.grad.dtype == np.float64
    assert np.isfinite(sample.grad).all()
    assert sample.choices.tolist() == networks().architecture(5).choices.tolist()
    assert sample.seconds > 0


def test_parameters_of_a_sample_are_of_its_index_alone() -> None:
    config = replace(CONFIG, init_per="sample", init="ntk")
    made = evaluator(config)
    in_order = [made(i) for i in range(4)]
    assert same_sample(evaluator(config)(3), in_order[3])
    assert same_sample(made(1), in_order[1]), "whatever was evaluated before"
    fixed = evaluator(replace(config, init_per="search"))
    assert same_sample(fixed(0), in_order[0]), "the first θ0 is that of a search"
    for i in range(1, 4):
        assert fixed(i).trace_norm != in_order[i].trace_norm
        assert fixed(i).choices.tolist() == in_order[i].choices.tolist()


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, sample_per="cell", loss="mse"),
        replace(CONFIG, init_per="sample", init="ntk"),
    ],
)
def test_sample_is_that_of_double_backward(config: SampleConfig) -> None:
    config = replace(config, dtype="float64")
    made = networks(config)
    sample = Evaluator(made)(3)
    x, y = make_batches(config, None).batch(3)
    e, gradient = trace_norm_and_alpha_gradient(
        made.net,
        x.double(),
        y,
        loss=LOSSES[config.loss],
        architecture=made.architecture(3),
    )
    assert sample.trace_norm == pytest.approx(float(e), rel=1e-9)
    np.testing.assert_allclose(
        sample.grad, gradient, rtol=1e-9, atol=1e-9 * float(gradient.abs().max())
    )


@pytest.mark.parametrize("sample_per", ["step", "cell"])
def test_sample_depends_on_its_index_alone(sample_per: str) -> None:
    config = replace(CONFIG, sample_per=sample_per)  # type: ignore[arg-type]
    one, other = evaluator(config), evaluator(config)
    torch.manual_seed(1)
    np.random.default_rng(1).normal()
    in_order = [one(t) for t in range(3)]
    torch.manual_seed(2)
    backwards = [other(t) for t in (2, 1, 0)][::-1]
    again = [one(t) for t in (1, 0, 2)]
    for first, second in zip(in_order, backwards, strict=True):
        assert same_sample(first, second)
    assert same_sample(again[0], in_order[1])
    assert same_sample(again[1], in_order[0])
    assert len({s.trace_norm for s in in_order}) == 3
    assert len({tuple(s.choices) for s in in_order}) == 3


def test_evaluating_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    evaluator()(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_gives_another_sample() -> None:
    one, other = evaluator()(0), evaluator(replace(CONFIG, seed=1))(0)
    assert one.trace_norm != other.trace_norm
    assert one.choices.tolist() != other.choices.tolist()


@pytest.fixture(scope="module")
def unchanged() -> Sample:
    return evaluator()(1)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "mse"},
        {"temperature": 2.0},
        {"sample_per": "cell"},
        {"num_cells": 4},
        {"init_channels": 3},
        {"image_size": 13},
        {"batch_size": 5},
        {"num_classes": 4},
        {"dtype": "float64"},
        {"init": "kaiming"},
        {"init": "xavier"},
        {"init": "ntk"},
        {"init_per": "sample"},
        {"batch_norm": "affine"},
    ],
    ids=str,
)
def test_every_setting_changes_the_sample(change: dict[str, object], unchanged: Sample) -> None:
    # Not the first one, whose θ0 is the same when each has its own.
    changed = evaluator(replace(CONFIG, **change))(1)  # type: ignore[arg-type]
    assert not same_sample(changed, unchanged)


def test_infinite_pixels_make_a_failed_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "make_batches", lambda config, images: SpoiledBatches(1))
    made = evaluator()
    sample = made(1)
    assert_failed(sample, 1)
    assert "sample 1 " in sample.error
    assert str(networks().architecture(1).choices.tolist()) in sample.error
    assert sample.choices.tolist() == networks().architecture(1).choices.tolist()
    assert made(0).status == "ok"
    assert same_sample(made(0), evaluator()(0))


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf"), 1e160, -1e160])
def test_one_entry_of_the_gradient_makes_a_failed_sample(
    monkeypatch: pytest.MonkeyPatch, broken: float
) -> None:
    def one_broken(*args: object, **kwargs: object) -> object:
        gradient = torch.ones(7, dtype=torch.float64)
        gradient[3] = broken
        return torch.tensor(4.0), {(0, 0): gradient}

    monkeypatch.setattr(evaluate, "trace_norm_and_gradient", one_broken)
    sample = evaluator()(2)
    assert_failed(sample, 2)
    assert "trace norm 4.0 of sample 2 or its gradient is not finite" in sample.error


@pytest.mark.parametrize("e", [float("nan"), float("inf"), 1e151])
def test_a_trace_norm_that_cannot_be_squared_makes_a_failed_sample(
    monkeypatch: pytest.MonkeyPatch, e: float
) -> None:
    monkeypatch.setattr(
        evaluate,
        "trace_norm_and_gradient",
        lambda *args, **kwargs: (
            torch.tensor(e, dtype=torch.float64),
            {(0, 0): torch.ones(7).double()},
        ),
    )
    assert_failed(evaluator()(2), 2)


def test_same_sample_compares_to_the_bit() -> None:
    sample = evaluator()(0)
    assert same_sample(sample, replace(sample, seconds=9.0, worker="elsewhere"))
    off = np.nextafter(sample.grad, np.inf)
    assert not same_sample(sample, replace(sample, index=1))
    assert not same_sample(sample, replace(sample, status="failed"))
    assert not same_sample(sample, replace(sample, grad=off))
    assert not same_sample(
        sample, replace(sample, trace_norm=float(np.nextafter(sample.trace_norm, np.inf)))
    )


def test_same_sample_holds_between_failed_ones() -> None:
    assert same_sample(lost_sample("darts", 3, "one"), lost_sample("darts", 3, "other"))


def test_lost_sample_keeps_its_reason() -> None:
    sample = lost_sample("darts", 3, "out of memory")
    assert sample.status == "lost"
    assert np.isnan(sample.trace_norm)
    assert np.isnan(sample.grad).all()
    assert sample.error == "out of memory"


def test_worker_is_named_after_host_process_and_device() -> None:
    sample = Evaluator(SubNetworks(CONFIG, None, device="cpu"))(0)
    assert sample.worker.count("/") == 2
    assert sample.worker.split("/")[2].startswith("cpu ")


def test_a_worker_sets_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        made = make_series_evaluator(CONFIG, None, (SAMPLES,), "cpu", 2)
        assert torch.get_num_threads() == 2
        assert made(0).status == "ok"
    finally:
        torch.set_num_threads(before)


def test_unknown_devices_are_refused() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device is 'tpu'; it must be cpu or cuda"):
        resolve_device("tpu")


def test_a_missing_gpu_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"sees no GPU on .*; use --device cpu"):
        resolve_device("cuda")
