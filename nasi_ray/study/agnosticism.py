"""Does e depend on labels and data? e of the same architectures in two data modes (Figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasi_ray.arrays import FloatArray
from nasi_ray.display.figures import BLUE, GREY, INK, new_figure
from nasi_ray.display.tables import markdown_table
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces import get_tabular_space
from nasi_ray.statistics import Correlation, Pairs, correlate_seeds
from nasi_ray.study.outcome import Outcome, describe_settings
from nasi_ray.study.searches import RunSource
from nasi_ray.study.settings import MODES, AgnosticStudy
from nasi_ray.study.text import (
    INTERVAL_NOTE,
    MODE_NAMES,
    interval,
    number,
    per_seed,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Agreement:
    """e of one data mode against e of another, architecture by architecture."""

    pearson: Correlation
    """Of e, as in the paper; a few large e decide it where e has a long tail."""
    pearson_log: Correlation
    """Of log e."""
    spearman: Correlation
    median_ratio: float
    """Median of e in the other mode over e in the first, of all seeds' pairs."""
    pairs: tuple[Pairs, ...]
    """e in the first mode and in the other, a pair of arrays per seed."""

    @property
    def num_pairs(self) -> int:
        """Architectures of all seeds together."""
        return sum(len(x) for x, _ in self.pairs)


def compare_modes(
    first: Sequence[SampleTable], other: Sequence[SampleTable], num_samples: int
) -> Agreement:
    """Compare e of two data modes.

    Records of one seed have the same θ0 and, index by index, the same architecture in every mode;
    with random labels also the same images.

    Args:
        first: Records of one mode, a table per seed.
        other: Records of the other mode, in the same order of seeds.
        num_samples: Samples with an index below this count.

    Raises:
        ValueError: If two records of a seed and index are of different architectures.
    """
    pairs = tuple(
        _paired(a.below(num_samples), b.below(num_samples))
        for a, b in zip(first, other, strict=True)
    )
    positive = [_positive(x, y) for x, y in pairs]
    ratios = np.concatenate([y / x for x, y in positive])
    return Agreement(
        pearson=correlate_seeds(pairs, "pearson"),
        pearson_log=correlate_seeds([(np.log(x), np.log(y)) for x, y in positive], "pearson"),
        spearman=correlate_seeds(pairs, "spearman"),
        median_ratio=float(np.median(ratios)) if len(ratios) else float("nan"),
        pairs=pairs,
    )


def run(study: AgnosticStudy, source: RunSource) -> Outcome:
    """Compare e with random labels and with random data against e with the true labels.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    settings, space = study.settings, study.settings.samples.space
    get_tabular_space(space)
    tables = source.tables_of_all_modes(settings.samples)
    agreements: dict[str, Agreement] = {
        mode: compare_modes(tables["true"], tables[mode], settings.estimate.num_samples)
        for mode in MODES[1:]
    }
    name, title = f"agnostic-{space}", describe_settings(settings)
    return Outcome(
        name=name,
        title=f"Label- and data-agnosticism on {space}",
        result=agreements,
        lines=agnostic_lines(agreements),
        figures={name: agnostic_figure(agreements, title=title)},
    )


def agnostic_lines(agreements: Mapping[str, Agreement]) -> list[str]:
    """Figure 1 in numbers."""
    rows = []
    for mode, found in agreements.items():
        for name, correlation in (
            ("Pearson of e", found.pearson),
            ("Pearson of log e", found.pearson_log),
            ("Spearman", found.spearman),
        ):
            rows.append(
                (
                    f"{MODE_NAMES[mode]} against true ones",
                    name,
                    interval(correlation),
                    per_seed(correlation),
                    str(found.num_pairs),
                )
            )
    ratios = ", ".join(
        f"{number(found.median_ratio, 3)} ({MODE_NAMES[mode]})"
        for mode, found in agreements.items()
    )
    return [
        "e of the same architectures (same θ0, same Gumbel draws) in two data modes. With random "
        "labels the images are the same, too. Every sample has a batch of its own, so part of the "
        "scatter is the batch's.",
        "",
        *markdown_table(("e with", "coefficient", "mean over seeds", "seeds", "pairs"), rows),
        "",
        INTERVAL_NOTE,
        "",
        f"Median of e over e with true labels and images: {ratios}.",
    ]


def agnostic_figure(agreements: Mapping[str, Agreement], *, title: str) -> Figure:
    """Figure 1: e with random labels and data against e with the true ones.

    Args:
        agreements: Data mode -> its agreement with the true labels.
        title: Says space and settings.
    """
    figure, axes = new_figure(len(agreements), size=(4.6 * len(agreements), 4.2))
    figure.suptitle(title, fontsize=10)
    for panel, (mode, agreement) in zip(axes, agreements.items(), strict=True):
        _scatter_modes(panel, mode, agreement)
    axes[0].legend(fontsize=7, loc="lower right", title_fontsize=7)
    return figure


def _scatter_modes(panel: Axes, mode: str, agreement: Agreement) -> None:
    num_seeds = len(agreement.pairs)
    x, y = (np.concatenate(values) for values in zip(*agreement.pairs, strict=True))
    label = f"samples of {num_seeds} seed{'s' * (num_seeds > 1)}"
    panel.scatter(x, y, s=12, alpha=0.35, color=BLUE, lw=0, label=label)
    (left, right), (bottom, top) = (
        _limits(values) for values in zip(*agreement.pairs, strict=True)
    )
    ends = (min(left, bottom), max(right, top))
    panel.plot(ends, ends, color=GREY, lw=1, ls=":", label="equal")
    # Room on top for the text.
    panel.set(
        xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top * (top / bottom) ** 0.25)
    )
    panel.set_xlabel(r"trace norm $e=\|\nabla_\theta L\|^2$, true labels and images", fontsize=8.5)
    panel.set_ylabel(f"trace norm $e$, {MODE_NAMES[mode]}", fontsize=8.5)
    text = "\n".join(
        [
            f"n = {agreement.num_pairs} architectures, {num_seeds} seeds",
            f"Pearson (e) {interval(agreement.pearson)}",
            f"Pearson (log e) {interval(agreement.pearson_log)}",
            f"Spearman {interval(agreement.spearman)}",
        ]
    )
    panel.text(0.03, 0.97, text, transform=panel.transAxes, va="top", fontsize=7.5, color=INK)


def _limits(values: Sequence[FloatArray]) -> tuple[float, float]:
    together = np.concatenate(values)
    together = together[together > 0]
    return (together.min() * 0.85, together.max() * 1.18) if len(together) else (0.1, 10.0)


def _paired(first: SampleTable, other: SampleTable) -> Pairs:
    _, a, b = np.intersect1d(first.index, other.index, assume_unique=True, return_indices=True)
    both = first.ok[a] & other.ok[b]
    a, b = a[both], b[both]
    if not np.array_equal(first.choices[a], other.choices[b]):
        raise ValueError("records of one seed and index are of different architectures")
    return first.trace_norm[a], other.trace_norm[b]


def _positive(x: FloatArray, y: FloatArray) -> Pairs:
    both = (x > 0) & (y > 0)
    return x[both], y[both]
