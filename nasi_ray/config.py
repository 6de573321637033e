"""What a user can set: frozen dataclasses, one per concern; the command line is made of them.

``SampleConfig`` is what a sample is (its fields are the identity of a run's records),
``EstimateConfig`` is how samples become a cell (answered from records at once), ``ComputeSettings``
is where a job evaluates (only its number of threads changes a result, in the last digits).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nasi_ray.errors import ConfigError, UnknownNameError

Auto = Literal["auto"]
Device = Literal["auto", "cpu", "cuda"]
Objective = Literal["trace-norm", "relative", "size-relative", "panel", "balanced", "expressive"]
Estimator = Literal["straight-through", "reinmax", "gumbel-rao", "score-function", "second-order"]
GRADIENT_ESTIMATORS = ("straight-through", "reinmax", "gumbel-rao")
"""Estimators that read the gradient of e."""


PATH = "path"
"""Name of the series of all ``PATH_MEASUREMENTS``."""

PATH_MEASUREMENTS = (
    "ntk_trace_estimate",
    "relative_trace_norm",
    "logit_variance",
    "naswot",
    "path_params",
    "path_multiply_adds",
    "relu_units",
)
"""What one pass through a sampled sub-network gives (``docs/selection.md``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """What is sampled; a change to any of these gives different samples."""

    space: str = "darts"
    """Search space."""
    seed: int = 0
    """Root seed of weights, batches, labels and Gumbel noise."""
    data: str = "random"
    """random | a Parquet data set (directory or file) | an image folder (class/file) |
    s3://bucket/prefix of one of these | hf:OWNER/NAME in the cache of Hugging Face's hub |
    CIFAR10 | CIFAR100 | MNIST | FashionMNIST | KMNIST | EMNIST-balanced | EMNIST-letters |
    EMNIST-digits | SVHN | STL10 | the name of a plug-in."""
    split: str = "train"
    """Split of the data set to read: train, test, validation or another name that it has."""
    image_column: str = ""
    """Column of a Parquet data set that holds the images; empty: img or image."""
    label_column: str = ""
    """Column that holds the labels, numbers from 0 or texts (which become classes in sorted
    order); empty: label, fine_label or labels."""
    skip_broken: bool = False
    """Leave out images that cannot be decoded, and say how many and which, instead of an error."""
    labels: Literal["auto", "true", "random", "permuted"] = "auto"
    """Labels of a batch; auto: true ones where the data has them, else random."""
    batch_size: int = 64
    """Images per sample, b."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    num_classes: int = 10
    """Classes of random data; data sets bring their own."""
    augment: Literal["none", "crop-flip"] = "none"
    """crop-flip: random crop with padding 4 and horizontal flip."""
    init_channels: int = 16
    """Channels C of the supernet's first cells."""
    num_cells: int | Auto = "auto"
    """Cells of the supernet, with reductions at a third and two thirds; auto: 8 for darts,
    9 for s1 to s3, 15 for nb201."""
    init: Literal["default", "kaiming", "xavier", "ntk"] = "default"
    """Initial parameters θ0: PyTorch's default, Kaiming or Xavier normal, or the NTK
    parameterisation (weights N(0, 1), scaled by 1/√fan_in in the forward pass)."""
    init_per: Literal["search", "sample"] = "search"
    """search: θ0 is drawn once, as in the paper; sample: anew for every sample, so that the
    estimate also averages over initial parameters."""
    batch_norm: Literal["auto", "affine", "plain"] = "auto"
    """affine: batch norm has parameters γ and β; plain: it has none; auto: as in the space's own
    one-shot network, plain for darts and affine for the others."""
    sample_per: Literal["step", "cell"] = "step"
    """step: all cells of a type share one draw; cell: each cell draws its own."""
    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    """Loss whose gradient norm is measured; mse is against one-hot labels."""
    temperature: float = 1.0
    """Softmax temperature τ of the straight-through surrogate."""
    dtype: Literal["float32", "float64"] = "float32"
    """Arithmetic of the evaluation."""
    device: Device = "auto"
    """Where samples are evaluated; auto: cuda where workers hold GPUs, else cpu."""

    def __post_init__(self) -> None:
        _check(self, "seed", lambda v: v >= 0, "at least 0")
        _check(self, "batch_size", lambda v: v >= 2, "at least 2 (batch norm needs them)")
        _check(self, "image_size", lambda v: v >= 8, "at least 8")
        _check(self, "num_classes", lambda v: v >= 2, "at least 2")
        _check(self, "init_channels", lambda v: v >= 1, "at least 1")
        _check(self, "num_cells", lambda v: v == "auto" or v >= 1, "auto, or at least 1")
        for name in ("batch_size", "image_size", "num_classes", "init_channels", "num_cells"):
            _check_largest(self, name)
        _check(self, "temperature", lambda v: 0 < v < float("inf"), "positive and finite")


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateConfig:
    """How samples become α and a cell; a change needs no new samples."""

    num_samples: int = 100
    """Monte-Carlo samples T."""
    objective: Objective = "trace-norm"
    """What makes an architecture good. trace-norm: as in the paper, a large trace norm e, up to ν.
    Others need no labels: panel: most parameters, corrected by NASWOT and a small relative trace
    norm; balanced: most parameters and a small variance of the logits; relative, size-relative,
    expressive: see docs/selection.md."""
    estimator: Estimator = "straight-through"
    """How samples become a score. From the gradient of the trace norm e: straight-through (the
    paper's), reinmax, gumbel-rao. From values alone: score-function (main effects), second-order
    (pairs as well)."""
    max_params: float | None = None
    """Largest number of parameters of the final network; None: any."""
    max_madds: float | None = None
    """Largest number of multiply-adds of the final network for one image; None: any."""
    method: Literal["fix", "ada"] = "fix"
    """How the limit ν is determined: fixed, or adapted to the samples seen so far (eq. 41)."""
    nu: float | str = 100.0
    """Limit ν of the trace norm e (fix), or its initial value ν₀ (ada); samples with a larger e are
    penalised. auto: the mean e of the first 50 samples, which are random architectures (eq. 40);
    q10, for example: the 10th percentile of e over the T samples; sweep: the mean of the α* with ν
    at every fifth percentile (2.5 to 97.5), so that there is no ν to choose."""
    mu: float = 2.0
    """Penalty μ: the gradient of a sample with e above ν counts 1 - μ times (eq. 13)."""
    xi: float = 1.0
    """Radius ξ of the step."""
    pairing: Literal["rank", "shared-op"] = "rank"
    """How a DARTS node's two operations and inputs are paired: best with best, or the best
    operation on both inputs."""
    normalize: Literal["max", "each"] = "max"
    """What a sample's G is divided by: the largest norm so far (eq. 18), or its own norm, so that
    all samples have equal weight."""
    norm_epsilon: float = 0.0
    """Added under the root of ‖G‖; the authors' code is believed to use 1e-5."""

    def __post_init__(self) -> None:
        finite = float("inf")
        _check(self, "num_samples", lambda v: v >= 1, "at least 1")
        _check_largest(self, "num_samples")
        _check(self, "nu", _is_constraint, "auto, sweep, a percentile like q10, or at least 0")
        _check(self, "mu", lambda v: 0 <= v < finite, "at least 0 and finite")
        _check(self, "xi", lambda v: 0 < v < finite, "positive and finite")
        _check(self, "norm_epsilon", lambda v: 0 <= v < finite, "at least 0 and finite")
        for name in ("max_params", "max_madds"):
            _check(self, name, lambda v: v is None or 0 < v < finite, "positive and finite")
        if self.objective != "trace-norm" and self.estimator in GRADIENT_ESTIMATORS:
            raise ConfigError(
                f"estimator is {self.estimator!r}, which needs the gradient of e, and objective is "
                f"{self.objective!r}; use estimator second-order or score-function, or objective "
                "trace-norm"
            )

    @property
    def needs_gradient(self) -> bool:
        """Whether e and its gradient are read, rather than measurements."""
        return self.objective == "trace-norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSettings:
    """Where a job evaluates; only the number of threads changes a result, in its last digits."""

    num_workers: int | Auto = "auto"
    """Workers (Ray actors); auto: as many as the cluster's GPUs, or else CPUs, allow; a search on
    this machine's CPUs begins in this process, and starts Ray only if the search then ends
    earlier; 0: this process evaluates, without Ray."""
    gpus_per_worker: float | Auto = "auto"
    """GPUs of one worker, fractions allowed; auto: 1 where the cluster has GPUs, else 0."""
    threads_per_worker: int = 1
    """CPU threads of one worker; the number changes the last digits of results."""
    capacity_timeout_s: float | Auto = "auto"
    """Seconds to wait without any worker before giving up; auto: 2 minutes, or half an hour if the
    cluster adds nodes on demand."""
    label_selector: str = "nasi-ray/use=!training"
    """Nodes that workers may run on, by Ray's labels: KEY=VALUE, where VALUE may also be !VALUE,
    in(A,B) or !in(A,B); several are separated by commas; "": any node."""

    address: str | None = None
    """Address of a Ray cluster; default: RAY_ADDRESS; otherwise Ray is started for this job."""
    price_list: str | None = None
    """JSON file, node type to USD per hour; the summary then says what the nodes cost."""

    def __post_init__(self) -> None:
        labels_of(self.label_selector)
        _check(self, "num_workers", lambda v: v == "auto" or v >= 0, "auto, or at least 0")
        _check_largest(self, "num_workers")
        _check(
            self,
            "gpus_per_worker",
            lambda v: v == "auto" or 0 <= v <= 1 or (v > 1 and float(v).is_integer()),
            "auto, a fraction from 0 to 1, or a whole number",
        )
        _check(self, "threads_per_worker", lambda v: v >= 1, "at least 1")
        _check_largest(self, "threads_per_worker")
        _check(
            self,
            "capacity_timeout_s",
            lambda v: v == "auto" or 0 < v < float("inf"),
            "auto, or positive and finite",
        )


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9][a-z0-9.-]{{0,250}}/)?{_LABEL}"
_CONDITION = rf"!?(?:in\({_LABEL}(?:, ?{_LABEL})*\)|{_LABEL})"


def labels_of(selector: str) -> dict[str, str]:
    """Label -> condition, of a label selector.

    Args:
        selector: As in ``ComputeSettings.label_selector``.

    Raises:
        ConfigError: If it is malformed.
    """
    term = f"{_KEY}={_CONDITION}"
    pairs = re.findall(f"({_KEY})=({_CONDITION})", selector)
    labels: dict[str, str] = dict(pairs)
    if not re.fullmatch(f"(?:{term}(?:,{term})*)?", selector) or len(labels) < len(pairs):
        raise ConfigError(
            f"label_selector is {selector!r}; give KEY=VALUE, or several of them separated by "
            "commas, each key once; VALUE may also be !VALUE, in(A,B) or !in(A,B)"
        )
    return labels


def quantile_of(nu: float | str) -> float | None:
    """The percentile that ``nu`` asks for, strictly between 0 and 100; None if it asks for none."""
    found = re.fullmatch(r"q(\d{1,2}(?:\.\d+)?)", nu) if isinstance(nu, str) else None
    return float(found[1]) or None if found else None


def _is_constraint(nu: float | str) -> bool:
    if isinstance(nu, str):
        return nu in ("auto", "sweep") or quantile_of(nu) is not None
    return 0 <= nu < float("inf")


_LARGEST = {
    "batch_size": 65_536,
    "image_size": 4096,
    "num_classes": 100_000,
    "init_channels": 4096,
    "num_cells": 1000,
    "num_samples": 10_000_000,
    "num_workers": 100_000,
    "threads_per_worker": 1024,
}
"""Far beyond any use; a larger value is a slip, and would exhaust memory before anyone notices."""


def _check_largest(config: Any, name: str) -> None:
    limit = _LARGEST[name]
    _check(config, name, lambda v: v == "auto" or v <= limit, f"at most {limit}")


def _check(config: Any, name: str, allowed: Callable[[Any], bool], rule: str) -> None:
    value = getattr(config, name)
    if not allowed(value):
        raise ConfigError(f"{name} is {value!r}; it must be {rule}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Settings that go together."""

    samples: SampleConfig = field(default_factory=SampleConfig)
    """What is sampled."""
    estimate: EstimateConfig
    """How samples become a cell."""


_SMALL = SampleConfig(
    init="ntk",
    init_per="sample",
    batch_norm="plain",
    init_channels=8,
    num_cells=3,
    batch_size=16,
    image_size=16,
)
"""A small supernet in the NTK parameterisation, drawn anew for every sample."""

PRESETS: dict[str, Preset] = {
    "nasi-fix": Preset(
        estimate=EstimateConfig(num_samples=100, method="fix", nu=100.0, mu=2.0),
    ),
    "nasi-ada": Preset(
        estimate=EstimateConfig(num_samples=100, method="ada", nu=500.0, mu=2.0),
    ),
    "nasi-1shot1": Preset(
        estimate=EstimateConfig(num_samples=781, method="ada", nu=1000.0, mu=1.0),
    ),
    "nasi-ntk": Preset(
        samples=_SMALL,
        estimate=EstimateConfig(
            num_samples=1562, method="fix", nu="sweep", mu=2.0, normalize="each"
        ),
    ),
    "nasi-relative": Preset(
        samples=_SMALL,
        estimate=EstimateConfig(num_samples=800, objective="relative", estimator="score-function"),
    ),
    "nasi-panel": Preset(
        samples=_SMALL,
        estimate=EstimateConfig(num_samples=800, objective="panel", estimator="second-order"),
    ),
    "nasi-expressive": Preset(
        samples=replace(_SMALL, num_cells=5),
        estimate=EstimateConfig(
            num_samples=1600, objective="expressive", estimator="score-function"
        ),
    ),
    "nasi-balanced": Preset(
        samples=_SMALL,
        estimate=EstimateConfig(num_samples=800, objective="balanced", estimator="second-order"),
    ),
}
"""``nasi-fix`` and ``nasi-ada`` are the paper's for DARTS (Sec. 5.2), ``nasi-1shot1`` is its for
NAS-Bench-1Shot1 (Sec. 5.1: one epoch of CIFAR-10), with ``SampleConfig``'s batch size of 64. The
others sample a small supernet. ``nasi-panel`` and ``nasi-balanced`` start from the number of
parameters and correct it by label-free measurements; ``nasi-relative`` reads trace norms alone.
``nasi-ntk``, a straight-through gradient over a sweep of ν, was chosen on S1 and S2 and fails on
NAS-Bench-201; it is kept for comparison (``docs/study.md``)."""


def default_preset(space: str, *, knows_costs: bool = True, has_budget: bool = False) -> str:
    """Name of the preset that ``auto`` stands for.

    Args:
        space: Name of the space.
        knows_costs: Whether the space knows what its networks cost.
        has_budget: Whether parameters or multiply-adds are limited.
    """
    if space == "darts":
        return "nasi-expressive"
    if not knows_costs:
        return "nasi-relative"
    return "nasi-balanced" if has_budget else "nasi-panel"


def get_preset(name: str) -> Preset:
    """Look a preset up.

    Raises:
        UnknownNameError: If there is no preset of that name.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, list(PRESETS))
    return PRESETS[name]
