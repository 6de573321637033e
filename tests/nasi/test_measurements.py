"""What is measured of a sampled sub-network, against the definitions and the proxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nasi_ray.config import PATH_MEASUREMENTS, SampleConfig
from nasi_ray.data.batches import RandomBatches
from nasi_ray.nasi import evaluator as evaluate
from nasi_ray.nasi.evaluator import SubNetworks
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.nasi.measurements import (
    PathEvaluator,
    PathMeasurer,
    lost_measurement,
    same_measurement,
)
from nasi_ray.networks.mixture import PathMixer
from nasi_ray.networks.relu_codes import relu_codes
from nasi_ray.networks.sub_network import layers_used, sub_network
from nasi_ray.proxies import get_proxy
from nasi_ray.spaces.nb201 import NB201_OPS, NB201Architecture
from tests.nasi.exact_ntk import jacobian, ntk_trace
from tests.nasi.toy import toy_case

TINY = SampleConfig(
    space="nb201",
    init="ntk",
    init_per="sample",
    batch_norm="plain",
    init_channels=2,
    num_cells=3,
    batch_size=4,
    image_size=8,
    num_classes=3,
)
SPACES = ("s1", "nb201", "darts")


def networks(config: SampleConfig = TINY) -> SubNetworks:
    return SubNetworks(config, None, device="cpu", worker="here")


def measure(made: SubNetworks, index: int, signs: Tensor) -> dict[str, float | None]:
    architecture, x, _ = made.at(index)
    return PathMeasurer(made.net)(x, signs, chosen=architecture.at)


def all_signs(batch: int, classes: int) -> list[Tensor]:
    patterns = product((-1.0, 1.0), repeat=batch * classes)
    return [torch.tensor(v, dtype=torch.float64).reshape(batch, classes) for v in patterns]


def connected(config: SampleConfig, *, is_connected: bool = True) -> int:
    """The first sample whose NAS-Bench-201 cell is (not) connected."""
    made = networks(config)
    for index in range(200):
        ops = [NB201_OPS[j] for j in made.architecture(index).choices]
        if NB201Architecture(tuple(ops)).is_connected() is is_connected:
            return index
    raise AssertionError("no such cell among 200")


@pytest.mark.parametrize("space", ["toy", *SPACES])
def test_the_estimate_over_all_signs_is_the_exact_trace_of_the_ntk(space: str) -> None:
    if space == "toy":
        case = toy_case(0)
        net, x, at = case.net, case.x[:2], case.architecture.at
        signs = all_signs(2, 3)
    else:
        config = replace(TINY, space=space, dtype="float64", batch_size=2, num_classes=2)
        made = networks(config)
        index = connected(config) if space == "nb201" else 0
        architecture, x, _ = made.at(index)
        net, at, signs = made.net, architecture.at, all_signs(2, 2)
    measurer = PathMeasurer(net)
    values = [measurer(x, v, chosen=at)["ntk_trace_estimate"] for v in signs]
    exact = float(ntk_trace(jacobian(net, x, lambda images: (images, PathMixer(at)))))
    assert len(values) == 2 ** signs[0].numel()
    assert np.mean(np.array(values, dtype=float)) == pytest.approx(exact, rel=1e-9)
    assert np.std(np.array(values, dtype=float)) > 0


def fold(net: nn.Module) -> None:
    """Make each layer's own weight s θ the parameter, which leaves the function as it is."""
    for module in net.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


@pytest.mark.parametrize("space", SPACES)
def test_the_relative_trace_norm_does_not_see_how_weights_are_scaled(space: str) -> None:
    made = networks(replace(TINY, space=space, dtype="float64"))
    index = connected(TINY) if space == "nb201" else 0
    architecture, x, _ = made.at(index)
    signs = torch.tensor([[1, 1, -1], [-1, 1, 1], [1, 1, 1], [-1, -1, 1]], dtype=torch.float64)
    scaled = PathMeasurer(made.net)(x, signs, chosen=architecture.at)
    fold(made.net)
    plain = PathMeasurer(made.net)(x, signs, chosen=architecture.at)
    relative = plain.pop("relative_trace_norm")
    assert scaled.pop("relative_trace_norm") == pytest.approx(relative, rel=1e-9)
    absolute = plain.pop("ntk_trace_estimate")
    assert scaled.pop("ntk_trace_estimate") != pytest.approx(absolute, rel=0.01)
    assert scaled == pytest.approx(plain, rel=1e-9)


def leads_to(logits: Tensor, p: nn.Parameter) -> bool:
    """Of DARTS a cell's input that no node takes is prepared and leads nowhere."""
    (grad,) = torch.autograd.grad(logits.sum(), p, retain_graph=True, allow_unused=True)
    return grad is not None


def by_hand(made: SubNetworks, index: int) -> dict[str, float]:
    """Of the sub-network as a network of its own, with the proxies."""
    architecture, x, y = made.at(index)
    net = sub_network(made.net, architecture.at, layers_used(made.net, architecture.at, x))
    logits = net(x)
    loss = LOSSES["cross-entropy"]
    of = {n: get_proxy(n).score(net, x, y, loss=loss) for n in ("naswot", "multiply_adds")}
    return {
        "logit_variance": float(logits.detach().double().var(dim=0, correction=0).mean()),
        "naswot": of["naswot"],
        "path_params": sum(p.numel() for p in net.parameters() if leads_to(logits, p)),
        "all_params": sum(p.numel() for p in net.parameters()),
        "path_multiply_adds": of["multiply_adds"],
        "relu_units": sum(code.shape[1] for code in relu_codes(logits)),
    }


@pytest.mark.parametrize("batch_norm", ["plain", "affine"])
@pytest.mark.parametrize("space", SPACES)
def test_sizes_variance_and_naswot_are_those_of_the_sub_network(
    space: str, batch_norm: str
) -> None:
    config = replace(TINY, space=space, image_size=9, batch_norm=batch_norm)  # type: ignore[arg-type]
    made = networks(config)
    evaluator = PathEvaluator(made)
    seen = set()
    for index in range(6):
        record = evaluator(index)
        assert record.status == "ok"
        if space == "nb201" and record.values["path_params"] is None:
            continue
        expected = by_hand(made, index)
        names = expected.keys() - {"all_params"}
        assert {name: record.values[name] for name in names} == pytest.approx(
            {name: expected[name] for name in names}, rel=1e-6
        )
        if space != "darts":
            assert expected["path_params"] == expected["all_params"]
        seen.add(record.values["path_params"])
    assert len(seen) >= 3


def test_a_cell_that_no_image_passes_has_no_values_and_is_ok() -> None:
    record = PathEvaluator(networks())(connected(TINY, is_connected=False))
    assert (record.status, record.error) == ("ok", "")
    assert record.values == dict.fromkeys(PATH_MEASUREMENTS)


def test_the_record_has_everything_a_part_needs() -> None:
    made = networks()
    index = connected(TINY)
    record = PathEvaluator(made)(index)
    assert (record.index, record.status, record.worker) == (index, "ok", "here")
    assert tuple(record.values) == PATH_MEASUREMENTS
    assert all(isinstance(value, float) for value in record.values.values())
    assert record.choices.tolist() == made.architecture(index).choices.tolist()
    assert record.seconds > 0


@dataclass(frozen=True)
class SpoiledBatches:
    """Random batches with one infinite pixel."""

    num_classes: int = 3

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = RandomBatches(seed=0, batch_size=4, image_size=8, num_classes=3).batch(index)
        x[1, 0, 5, 5] = torch.inf
        return x, y


@pytest.mark.parametrize("space", SPACES)
def test_numbers_that_are_not_finite_make_a_failed_record(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "make_batches", lambda config, images: SpoiledBatches())
    index = connected(TINY) if space == "nb201" else 0
    record = PathEvaluator(networks(replace(TINY, space=space)))(index)
    assert record.status == "failed"
    assert record.values == {}
    assert record.error.startswith("not finite: ")
    assert "logit_variance" in record.error
    assert len(record.choices) > 0


def evaluated(config: SampleConfig, indices: Sequence[int]) -> list[object]:
    evaluator = PathEvaluator(networks(config))
    found = {index: evaluator(index) for index in indices}
    return [found[index] for index in sorted(found)]


@pytest.mark.parametrize("init_per", ["search", "sample"])
def test_a_record_is_of_its_seed_and_index_alone(init_per: str) -> None:
    config = replace(TINY, space="s1", init_per=init_per)  # type: ignore[arg-type]
    torch.manual_seed(1)
    in_order = evaluated(config, range(4))
    torch.manual_seed(2)
    backwards = evaluated(config, (3, 2, 1, 0))
    for one, other in zip(in_order, backwards, strict=True):
        assert same_measurement(one, other)  # type: ignore[arg-type]
    assert not same_measurement(in_order[0], in_order[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"num_cells": 4},
        {"init_channels": 3},
        {"image_size": 9},
        {"batch_size": 5},
        {"num_classes": 4},
        {"init": "kaiming"},
        {"init_per": "search"},
        {"batch_norm": "affine"},
    ],
    ids=str,
)
def test_other_settings_give_another_record(change: dict[str, object]) -> None:
    config = replace(TINY, space="s1")
    one = PathEvaluator(networks(config))(1)
    other = PathEvaluator(networks(replace(config, **change)))(1)  # type: ignore[arg-type]
    assert not same_measurement(one, other)


def test_labels_make_no_difference() -> None:
    config = replace(TINY, space="s1")
    one = PathEvaluator(networks(config))(1)
    other = PathEvaluator(networks(replace(config, loss="mse")))(1)
    assert same_measurement(one, other)


def test_records_are_compared_to_the_bit() -> None:
    record = PathEvaluator(networks(replace(TINY, space="s1")))(0)
    assert same_measurement(record, replace(record, seconds=9.0, worker="elsewhere"))
    value = record.values["naswot"]
    assert value is not None
    off = {**record.values, "naswot": float(np.nextafter(value, np.inf))}
    for other in (
        replace(record, index=1),
        replace(record, status="lost", values={}),
        replace(record, values=off),
        replace(record, choices=record.choices + 1),
    ):
        assert not same_measurement(record, other)


def test_a_lost_record_keeps_its_reason() -> None:
    record = lost_measurement(3, "out of memory")
    assert (record.index, record.status, record.error) == (3, "lost", "out of memory")
    assert record.values == {}
    assert same_measurement(record, lost_measurement(3, "other"))
