from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from ray._private.label_utils import validate_label_selector

from nasi_ray.config import (
    GRADIENT_ESTIMATORS,
    PRESETS,
    ComputeSettings,
    EstimateConfig,
    SampleConfig,
    default_preset,
    get_preset,
    labels_of,
)
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.nasi.objectives import OBJECTIVES

NAN, INF = float("nan"), float("inf")

RULES = [
    (SampleConfig, "seed", -1, "at least 0"),
    (SampleConfig, "batch_size", 1, "at least 2 (batch norm needs them)"),
    (SampleConfig, "image_size", 7, "at least 8"),
    (SampleConfig, "num_classes", 1, "at least 2"),
    (SampleConfig, "init_channels", 0, "at least 1"),
    (SampleConfig, "num_cells", 0, "auto, or at least 1"),
    (SampleConfig, "temperature", 0.0, "positive and finite"),
    (SampleConfig, "temperature", -1.0, "positive and finite"),
    (SampleConfig, "temperature", INF, "positive and finite"),
    (SampleConfig, "temperature", NAN, "positive and finite"),
    (EstimateConfig, "num_samples", 0, "at least 1"),
    (EstimateConfig, "nu", -0.1, "auto, sweep, a percentile like q10, or at least 0"),
    (EstimateConfig, "nu", "q0", "auto, sweep, a percentile like q10, or at least 0"),
    (EstimateConfig, "nu", "q100", "auto, sweep, a percentile like q10, or at least 0"),
    (EstimateConfig, "nu", "median", "auto, sweep, a percentile like q10, or at least 0"),
    (EstimateConfig, "nu", INF, "auto, sweep, a percentile like q10, or at least 0"),
    (EstimateConfig, "nu", NAN, "auto, sweep, a percentile like q10, or at least 0"),
    *(
        (EstimateConfig, name, limit, "positive and finite")
        for name in ("max_params", "max_madds")
        for limit in (0.0, -1.0, INF, NAN)
    ),
    (EstimateConfig, "mu", -1.0, "at least 0 and finite"),
    (EstimateConfig, "mu", INF, "at least 0 and finite"),
    (EstimateConfig, "mu", NAN, "at least 0 and finite"),
    (EstimateConfig, "xi", 0.0, "positive and finite"),
    (EstimateConfig, "xi", INF, "positive and finite"),
    (EstimateConfig, "xi", NAN, "positive and finite"),
    (EstimateConfig, "norm_epsilon", -1e-9, "at least 0 and finite"),
    (EstimateConfig, "norm_epsilon", INF, "at least 0 and finite"),
    (ComputeSettings, "num_workers", -1, "auto, or at least 0"),
    (ComputeSettings, "gpus_per_worker", -0.5, "auto, a fraction from 0 to 1, or a whole number"),
    (ComputeSettings, "gpus_per_worker", 1.5, "auto, a fraction from 0 to 1, or a whole number"),
    (ComputeSettings, "gpus_per_worker", NAN, "auto, a fraction from 0 to 1, or a whole number"),
    (ComputeSettings, "threads_per_worker", 0, "at least 1"),
    (ComputeSettings, "capacity_timeout_s", 0.0, "auto, or positive and finite"),
    (ComputeSettings, "capacity_timeout_s", NAN, "auto, or positive and finite"),
    (ComputeSettings, "capacity_timeout_s", INF, "auto, or positive and finite"),
    (ComputeSettings, "gpus_per_worker", INF, "auto, a fraction from 0 to 1, or a whole number"),
]


@pytest.mark.parametrize(("config", "name", "value", "rule"), RULES)
def test_values_out_of_range_are_refused(
    config: type[Any], name: str, value: object, rule: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**{name: value})
    assert str(caught.value) == f"{name} is {value!r}; it must be {rule}"


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (SampleConfig, "seed", 0),
        (SampleConfig, "batch_size", 2),
        (SampleConfig, "image_size", 8),
        (SampleConfig, "num_classes", 2),
        (SampleConfig, "init_channels", 1),
        (SampleConfig, "num_cells", 1),
        (SampleConfig, "num_cells", "auto"),
        (EstimateConfig, "num_samples", 1),
        (EstimateConfig, "nu", 0.0),
        (EstimateConfig, "nu", "auto"),
        (EstimateConfig, "nu", "q10"),
        (EstimateConfig, "nu", "q2.5"),
        (EstimateConfig, "mu", 0.0),
        (EstimateConfig, "norm_epsilon", 0.0),
        (ComputeSettings, "num_workers", 0),
        (ComputeSettings, "num_workers", "auto"),
        (ComputeSettings, "gpus_per_worker", 0.25),
        (ComputeSettings, "gpus_per_worker", 1.0),
        (ComputeSettings, "gpus_per_worker", 2.0),
        (ComputeSettings, "gpus_per_worker", "auto"),
        (ComputeSettings, "threads_per_worker", 1),
        (ComputeSettings, "capacity_timeout_s", "auto"),
        (ComputeSettings, "capacity_timeout_s", 0.5),
    ],
)
def test_the_edges_of_the_ranges_are_allowed(config: type[Any], name: str, value: object) -> None:
    assert getattr(config(**{name: value}), name) == value


def test_defaults_are_those_of_the_paper() -> None:
    sample, estimate = SampleConfig(), EstimateConfig()
    assert (sample.batch_size, sample.temperature, sample.init_channels) == (64, 1.0, 16)
    assert (sample.space, sample.sample_per, sample.loss) == ("darts", "step", "cross-entropy")
    assert (estimate.num_samples, estimate.mu, estimate.xi) == (100, 2.0, 1.0)
    assert (estimate.method, estimate.nu, estimate.norm_epsilon) == ("fix", 100.0, 0.0)


def test_three_presets_are_those_of_the_paper() -> None:
    papers = {"nasi-1shot1", "nasi-ada", "nasi-fix"}
    assert PRESETS.keys() - papers == {
        *("nasi-ntk", "nasi-relative", "nasi-panel", "nasi-balanced", "nasi-expressive"),
    }
    fix, ada = get_preset("nasi-fix").estimate, get_preset("nasi-ada").estimate
    assert (fix.method, fix.nu, fix.mu, fix.num_samples) == ("fix", 100.0, 2.0, 100)
    assert (ada.method, ada.nu, ada.mu, ada.num_samples) == ("ada", 500.0, 2.0, 100)
    tabular = get_preset("nasi-1shot1").estimate
    assert (tabular.method, tabular.nu, tabular.mu) == ("ada", 1000.0, 1.0)
    assert tabular.num_samples == 50_000 // 64  # one epoch of CIFAR-10


def test_the_papers_presets_sample_as_the_paper_does() -> None:
    for name in ("nasi-fix", "nasi-ada", "nasi-1shot1"):
        assert get_preset(name).samples == SampleConfig()


def test_the_ntk_preset_needs_no_nu_and_half_an_epoch() -> None:
    preset = get_preset("nasi-ntk")
    assert preset.samples == SampleConfig(
        init="ntk",
        init_per="sample",
        batch_norm="plain",
        init_channels=8,
        num_cells=3,
        batch_size=16,
        image_size=16,
    )
    assert preset.estimate == EstimateConfig(
        num_samples=50_000 // 16 // 2, nu="sweep", mu=2.0, normalize="each"
    )


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(
        UnknownNameError, match=r"'nasi'; choose one of .*, nasi-relative; did you mean nasi-ntk"
    ):
        get_preset("nasi")


def test_presets_of_measurements_sample_as_the_ntk_preset_does() -> None:
    for objective in ("relative", "panel", "balanced"):
        preset = get_preset(f"nasi-{objective}")
        assert preset.samples == get_preset("nasi-ntk").samples
        assert (preset.estimate.objective, preset.estimate.num_samples) == (objective, 800)


@pytest.mark.parametrize(
    ("space", "settings", "name"),
    [
        ("darts", {}, "nasi-expressive"),
        ("darts", {"knows_costs": False}, "nasi-expressive"),
        ("s1", {}, "nasi-panel"),
        ("s1", {"has_budget": True}, "nasi-balanced"),
        ("mine", {"knows_costs": False}, "nasi-relative"),
        ("mine", {"knows_costs": False, "has_budget": True}, "nasi-relative"),
    ],
)
def test_auto_is_a_preset_that_the_space_can_answer(
    space: str, settings: dict[str, bool], name: str
) -> None:
    assert default_preset(space, **settings) == name
    assert name in PRESETS


@pytest.mark.parametrize("estimator", GRADIENT_ESTIMATORS)
def test_gradients_are_of_the_trace_norm_alone(estimator: Any) -> None:
    EstimateConfig(estimator=estimator)
    for objective in sorted(OBJECTIVES):
        with pytest.raises(ConfigError) as caught:
            EstimateConfig(estimator=estimator, objective=objective)  # type: ignore[arg-type]
        assert "use estimator second-order or score-function, or objective" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SampleConfig().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ("", {}),
        ("nasi-ray/use=!training", {"nasi-ray/use": "!training"}),
        (
            "ray.io/accelerator-type=in(A10G,L4),zone=!in(a, b),in=c-1.2_x",
            {"ray.io/accelerator-type": "in(A10G,L4)", "zone": "!in(a, b)", "in": "c-1.2_x"},
        ),
    ],
)
def test_a_label_selector_is_what_ray_takes(selector: str, labels: dict[str, str]) -> None:
    assert labels_of(ComputeSettings(label_selector=selector).label_selector) == labels
    assert validate_label_selector(labels) is None


@pytest.mark.parametrize(
    "selector",
    ["a", "a=", "=b", "a=b,", ",a=b", "a=b;c=d", "a=b,a=c", "a=in()", "a=in(b", "a=!!b", "a = b",
     "a=-b", "a=" + "b" * 64, "A/b=c", "a\n=b"],
)  # fmt: skip
def test_a_malformed_label_selector_is_told(selector: str) -> None:
    with pytest.raises(ConfigError, match=r"label_selector is .*; give KEY=VALUE"):
        ComputeSettings(label_selector=selector)
