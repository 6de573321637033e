"""How sure a search's cell is: who may replace a choice, since when it stands, when to stop."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NoGoodSamplesError
from nasi_ray.nasi.estimates import make_estimate, selected_cells
from nasi_ray.nasi.estimator import Estimate, first_choices, margins, outcomes
from nasi_ray.records.rows import SearchRecords
from nasi_ray.spaces.base import SearchSpace

FIRST_CHECKPOINT = 50
"""With fewer samples a search is not judged."""


def checkpoints(num_samples: int) -> tuple[int, ...]:
    """Numbers of samples at which a search is judged: 50·√2ᵏ below T, rounded, and T.

    They do not depend on when samples arrive, and those of a larger T begin with those of a
    smaller one (but for its end).

    Args:
        num_samples: T (≥ 1).
    """
    counts, k = [], 0
    while (count := round(FIRST_CHECKPOINT * 2 ** (k / 2))) < num_samples:
        counts.append(count)
        k += 1
    return (*counts, num_samples)


def runners_up(result: Estimate, space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Decision -> the candidates that other samples most likely take in place of the first choice.

    Where no outcome takes others, it is the second choice by α. Decisions without alternatives
    are left out.

    Args:
        result: The estimate.
        space: Its space.
    """
    drawn = outcomes(result)
    taken = [] if drawn is None else [first_choices(alpha, space) for alpha in drawn]
    found = {}
    for name, first in first_choices(result.alpha, space).items():
        others = Counter(choice[name] for choice in taken if choice[name] != first)
        if others:
            found[name] = others.most_common(1)[0][0]
            continue
        (at,) = (i for i, d in enumerate(space.decisions) if d.name == name)
        order = np.argsort(-result.alpha[space.slices[at]], kind="stable").tolist()
        num = space.decisions[at].num_chosen
        found[name] = tuple(sorted([*order[: num - 1], order[num]]))
    return found


def is_stable(result: Estimate, space: SearchSpace, probability: float) -> bool:
    """Whether every decision stands with at least this probability (``Margin.probability``).

    A tie never does: the order in which candidates are listed decides it, and not the samples.
    """
    found = margins(result, space).values()
    return all(m.value > 0 and m.probability >= probability for m in found)


def stopping_point(
    records: SearchRecords,
    space: SearchSpace,
    config: EstimateConfig,
    settings: Mapping[str, Any],
    *,
    probability: float,
) -> int:
    """The number of samples with which a search may end: the first checkpoint that is stable.

    It follows from the records below it alone, so it is the same for any number of workers.

    Args:
        records: With at least the samples up to the result.
        space: Their space.
        config: Settings of the estimate; T is the largest number of samples.
        settings: As for ``make_estimate``.
        probability: See ``is_stable``.

    Returns:
        At most T; T if no checkpoint below it is stable
    """
    for count in checkpoints(config.num_samples)[:-1]:
        asked = dataclasses.replace(config, num_samples=count)
        if stands_at(records, space, asked, settings, probability=probability):
            return count
    return config.num_samples


def stands_at(
    records: SearchRecords,
    space: SearchSpace,
    config: EstimateConfig,
    settings: Mapping[str, Any],
    *,
    probability: float,
) -> bool:
    """Whether the first T samples make a stable estimate; arguments as of ``stopping_point``."""
    try:
        return is_stable(make_estimate(records, space, config, settings), space, probability)
    except NoGoodSamplesError:
        return False


def unchanged_since(
    records: SearchRecords, space: SearchSpace, config: EstimateConfig, settings: Mapping[str, Any]
) -> int:
    """The smallest checkpoint from which on every checkpoint selects the cell of all T samples.

    Args:
        records: With T samples.
        space: Their space.
        config: Settings of the estimate.
        settings: As for ``make_estimate``.
    """
    since = config.num_samples
    counts = checkpoints(config.num_samples)
    configs = [dataclasses.replace(config, num_samples=count) for count in counts]
    (last,) = selected_cells(records, space, configs[-1:], settings)
    for asked in reversed(configs[:-1]):
        try:
            (cell,) = selected_cells(records, space, [asked], settings)
        except NoGoodSamplesError:
            break
        if cell.to_string() != last.to_string():
            break
        since = asked.num_samples
    return since
