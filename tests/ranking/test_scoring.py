from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nasi_ray.config import SampleConfig
from nasi_ray.data.batches import make_batches
from nasi_ray.errors import ConfigError, ProxyFailedError
from nasi_ray.nasi.evaluator import SubNetworks
from nasi_ray.nasi.gradient import trace_norm_and_gradient
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks import nb1shot1, nb201
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.networks.initialization import build
from nasi_ray.networks.mixture import PathMixer
from nasi_ray.networks.sub_network import layers_used, sub_network
from nasi_ray.proxies import PROXIES, get_proxy
from nasi_ray.ranking.scoring import ScoreEvaluator, lost_score, same_score
from nasi_ray.ranking.settings import RankConfig
from nasi_ray.run.limits import parse_number
from nasi_ray.runner import handle
from nasi_ray.seeding import torch_seed
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.spaces.nb201 import NB201, NB201Architecture
from tests.contracts.records import a_score

TINY = RankConfig(batch_size=6, image_size=8, num_channels=4, num_classes=3)
SUPERNET = replace(TINY, network="supernet", num_cells=3, num_channels=2)
CHEAP = [name for name in PROXIES if not name.startswith("ntk")]
POSITION = 7001


def evaluator(config: RankConfig = TINY, *proxies: str) -> ScoreEvaluator:
    return ScoreEvaluator(config, None, proxies or ("trace_norm",), device="cpu")


def index_of(position: int = POSITION, seed: int = 0) -> int:
    return seed * S1.num_architectures + position


@pytest.mark.parametrize("name", CHEAP)
def test_a_score_is_the_proxys_of_the_benchmarks_network(name: str) -> None:
    seed = 5
    found = evaluator(TINY, name)(handle(0, index_of(seed=seed)))
    net = build(
        lambda: make_standalone("s1", S1.architecture(POSITION), num_classes=3, num_channels=4),
        seed=torch_seed(seed, "weights"),
        dtype=torch.float32,
    ).to(memory_format=torch.channels_last)
    x, y = make_batches(TINY.sample_config(seed), None).batch(0)
    x = x.contiguous(memory_format=torch.channels_last)
    own_seed = torch_seed(seed, "weights", 1)
    expected = get_proxy(name).score(net, x, y, loss=LOSSES["cross-entropy"], seed=own_seed)
    assert (found.status, found.score) == ("ok", expected)
    assert found.index == index_of(seed=seed)
    assert found.seconds > 0


def test_scores_do_not_depend_on_what_was_evaluated_before() -> None:
    shared = evaluator(TINY, "trace_norm", "zen")
    handles = [handle(p, index_of(i, seed)) for p in (0, 1) for i in (3, 999) for seed in (0, 1)]
    fresh = [evaluator(TINY, "trace_norm", "zen")(given) for given in handles]
    again = [shared(given) for given in reversed(handles)][::-1]
    assert all(same_score(*pair) for pair in zip(fresh, again, strict=True))
    assert len({score.score for score in fresh}) == len(handles)


def test_the_trace_norm_on_the_supernet_is_the_searchs_e() -> None:
    sample = replace(
        SampleConfig(space="s1", seed=4, init_channels=2, dtype="float64"),
        batch_size=6,
        image_size=8,
        num_classes=3,
        num_cells=3,
    )
    search = SubNetworks(sample, None, device="cpu")
    x, y = make_batches(sample, None).batch(0)
    chosen = nb1shot1.chosen(S1, S1.architecture(POSITION))
    with torch.no_grad():
        logits = search.net(x.double(), PathMixer(chosen))
    net = evaluator(replace(SUPERNET, dtype="float64"))
    assert torch.equal(net._network(S1.architecture(POSITION), 4)(x.double()), logits)
    score = net(handle(0, index_of(seed=4))).score
    loss = LOSSES["cross-entropy"]
    e, _ = trace_norm_and_gradient(search.net, x.double(), y, loss=loss, chosen=chosen)
    assert score == pytest.approx(float(e), rel=1e-12)


@pytest.mark.parametrize("space", ["s1", "nb201"])
def test_a_sub_network_has_the_layers_of_its_path_and_no_other(space: str) -> None:
    config = replace(SUPERNET, space=space)
    whole = evaluator(config)
    architecture = S1.architecture(POSITION) if space == "s1" else NB201.architecture(9000)
    net = whole._network(architecture, 0)
    full = whole._supernet(0)
    x = torch.randn(2, 3, 8, 8)
    logits = net(x)
    loss = logits.square().sum()
    grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    assert all(grad is not None for grad in grads)
    assert sum(p.numel() for p in net.parameters()) < sum(p.numel() for p in full.parameters())
    own = {id(p) for p in net.parameters()}
    assert not own & {id(p) for p in full.parameters()}


def test_a_path_that_asks_for_nothing_leaves_the_end_of_the_network() -> None:
    config = replace(SUPERNET, space="nb201")
    whole = evaluator(config)
    nothing = NB201Architecture(("none",) * 6)
    used = layers_used(whole._shape_only(), nb201.chosen(nothing), whole._meta_image())
    assert used == {"norm", "classifier"}
    net = sub_network(whole._supernet(0), nb201.chosen(nothing), used)
    assert sum(p.numel() for p in net.parameters()) == 2 * 8 + 8 * 3 + 3


def test_sizes_need_no_batch_and_are_those_of_the_benchmarks_network() -> None:
    config = RankConfig(batch_size=6, num_classes=10)  # 128 channels
    architecture = S1.architecture(POSITION)
    found = evaluator(config, "num_params")(handle(0, index_of()))
    assert found.score == architecture.num_params()
    macs = evaluator(TINY, "multiply_adds")(handle(0, index_of())).score
    with torch.device("meta"):
        net = make_standalone("s1", architecture, num_classes=3, num_channels=4)
    x = torch.empty(1, 3, 8, 8, device="meta")
    expected = get_proxy("multiply_adds").score(net, x, x, loss=LOSSES["mse"])
    assert macs == expected


@pytest.mark.parametrize("limits", [{"max_params": "60k"}, {"max_madds": "2M"}])
def test_within_limits_each_network_is_as_wide_as_they_allow(limits: dict[str, Any]) -> None:
    config = replace(TINY, num_channels="auto", **limits)
    name = "num_params" if "max_params" in limits else "multiply_adds"
    limit = parse_number("", *limits.values())
    found = {}
    for position in (POSITION, 12, 3000):
        score = evaluator(config, name)(handle(0, index_of(position))).score
        channels = next(
            c
            for c in itertools.count(2)
            if evaluator(replace(TINY, num_channels=c), name)(handle(0, index_of(position))).score
            > limit
        )
        widest = replace(TINY, num_channels=channels - 1)
        for proxy in (name, "trace_norm", "naswot"):
            one, other = (
                evaluator(settings, proxy)(handle(0, index_of(position)))
                for settings in (config, widest)
            )
            assert same_score(one, other)
            assert one.status == "ok"
        assert score <= limit
        found[channels] = score
    assert len(found) > 1


def test_a_limit_below_the_narrowest_network_fails_its_scores() -> None:
    found = evaluator(replace(TINY, num_channels="auto", max_params="9"))(handle(0, index_of()))
    assert found.status == "failed"
    assert found.error.startswith("the narrowest network (C=2) has ")


def test_a_proxy_that_gives_no_score_is_a_failed_record_with_the_reason() -> None:
    config = replace(TINY, space="nb201")
    cut = NB201.index(NB201Architecture(("none",) * 6))
    score = evaluator(config, "jacob_cov")(handle(0, cut))
    assert score.status == "failed"
    assert math.isnan(score.score)
    assert score.error.startswith("jacob_cov gives no score: ")


@pytest.mark.parametrize(
    ("value", "status", "error"),
    [
        (ProxyFailedError("snip", "why"), "failed", "snip gives no score: why"),
        (ConfigError("too many rows"), "failed", "too many rows"),
        (float("nan"), "failed", "the score is nan"),
        (float("inf"), "failed", "the score is inf"),
        (2.0, "ok", ""),
    ],
)
def test_no_score_is_no_number(
    monkeypatch: pytest.MonkeyPatch, value: Exception | float, status: str, error: str
) -> None:
    def score(self: ScoreEvaluator, *args: object) -> float:
        if isinstance(value, Exception):
            raise value
        return value

    monkeypatch.setattr(ScoreEvaluator, "_score", score)
    found = evaluator()(handle(0, 3))
    assert (found.status, found.error) == (status, error)
    assert math.isnan(found.score) is (status != "ok")


def test_settings_that_a_proxy_refuses_fail_its_scores() -> None:
    score = evaluator(replace(TINY, batch_size=7), "zico")(handle(0, 3))
    assert score.status == "failed"
    assert "num_batches is 2 and there are 7 images" in score.error


def test_other_exceptions_are_left_to_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(self: ScoreEvaluator, *args: object) -> float:
        raise RuntimeError("no memory")

    monkeypatch.setattr(ScoreEvaluator, "_score", score)
    with pytest.raises(RuntimeError, match="no memory"):
        evaluator()(handle(0, 3))


def test_a_lost_score_knows_its_index() -> None:
    lost = lost_score(handle(11, 12_345), "died")
    assert (lost.index, lost.status, lost.error) == (12_345, "lost", "died")
    assert math.isnan(lost.score)


CHANGES: dict[str, Callable[[], bool]] = {
    "the same": lambda: same_score(a_score(1), a_score(1)),
    "both failed": lambda: same_score(a_score(1, failed=True), a_score(1, failed=True)),
    "worker": lambda: same_score(a_score(1), replace(a_score(1), worker="b", seconds=9.0)),
    "score": lambda: same_score(
        a_score(1), replace(a_score(1), score=float(np.nextafter(a_score(1).score, 9)))
    ),
    "failed": lambda: same_score(a_score(1), a_score(1, failed=True)),
    "index": lambda: same_score(a_score(1), replace(a_score(1), index=2)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_score_agrees_in_every_bit(change: str) -> None:
    assert CHANGES[change]() is (change in ("the same", "both failed", "worker"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "darts", "network": "supernet"}, "network is supernet, but a DARTS cell"),
        ({"space": "x"}, "unknown space 'x'"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"num_channels": 1}, "num_channels is 1; cells of s1 concatenate 2"),
        ({"num_channels": 0, "space": "nb201"}, "num_channels is 0; it must be auto, or 1 to 4096"),
        ({"num_cells": 9}, "num_cells is 9, but the benchmark fixes"),
        ({"max_params": "many", "num_channels": "auto"}, "max_params is 'many'; give a number"),
        ({"max_madds": "4M"}, "num_channels is 4, but max_madds chooses it"),
        (
            {"max_params": "1M", "num_channels": "auto", "network": "supernet"},
            "max_params is 1M, but all architectures share one supernet",
        ),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(Exception, match=message):
        replace(TINY, **changes)  # type: ignore[arg-type]


def test_auto_is_the_benchmarks_own_width() -> None:
    widths = {
        (space, network): RankConfig(space=space, network=network).resolved_channels
        for space in ("s1", "nb201")
        for network in ("standalone", "supernet")
    }
    assert widths == {
        ("s1", "standalone"): 128, ("s1", "supernet"): 16,
        ("nb201", "standalone"): 16, ("nb201", "supernet"): 16,
    }  # fmt: skip


def test_least_channels_are_enough_for_every_cell() -> None:
    for space in ("s1", "s2"):
        config = RankConfig(
            space=space, batch_size=2, image_size=8, num_channels=3 if space == "s2" else 2
        )
        found = evaluator(config, "num_params")
        for position in range(0, 14_000, 997):
            assert found(handle(0, position)).status == "ok"
