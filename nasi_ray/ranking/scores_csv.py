"""Scores as a table for spreadsheets; a missing score is empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.ranking.scores import ProxyScores, text_fields
from nasi_ray.spaces import get_tabular_space
from nasi_ray.statistics import mean_over_seeds


def scores_csv(
    space: str,
    positions: IntArray,
    scores: Sequence[ProxyScores],
    error_percent: FloatArray | None,
    given: Mapping[int, Sequence[str]],
) -> bytes:
    """Render the scores.

    Args:
        space: Name of the space.
        positions: Of the architectures, shape (architectures,).
        scores: Of every proxy.
        error_percent: Shape (architectures,), or None.
        given: Position -> spellings in the user's file; empty without one.

    Returns:
        UTF-8. Columns: ``given`` where there is a file, with a row for each spelling in it;
        ``architecture``, ``hash`` (NAS-Bench-101 cells) or ``genotype`` (DARTS cells, as JSON),
        ``error_percent``, then per proxy its mean over seeds and, with several seeds,
        ``<proxy>_seed<n>`` each.
    """
    ranked = get_tabular_space(space)
    named = [text_fields(ranked.architecture(p)) for p in positions.tolist()]
    columns: dict[str, Sequence[object]] = {
        key: [fields[key] for fields in named] for key in (named[0] if named else {})
    }
    if error_percent is not None:
        columns["error_percent"] = _cells(error_percent)
    for proxy in scores:
        columns[proxy.proxy] = _cells(mean_over_seeds(proxy.scores))
        if len(proxy.seeds) > 1:
            for seed, of_seed in zip(proxy.seeds, proxy.scores, strict=True):
                columns[f"{proxy.proxy}_seed{seed}"] = _cells(of_seed)
    rows = list(zip(*columns.values(), strict=True))
    if given:
        spelled = zip(positions.tolist(), rows, strict=True)
        rows = [(text, *row) for position, row in spelled for text in given[position]]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["given", *columns] if given else columns)
    writer.writerows(rows)
    return out.getvalue().encode()


def _cells(values: FloatArray) -> list[str]:
    return [
        repr(v) if there else ""
        for v, there in zip(values.tolist(), np.isfinite(values), strict=True)
    ]
