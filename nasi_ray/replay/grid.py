"""The grid of a replay: values of the estimate's settings, and all their combinations."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.run.settings import with_settings
from nasi_ray.search.settings import ONLY_OF_E

Grid = Mapping[str, tuple[Any, ...]]
"""Name of a setting -> its values, each once."""

DEFAULT_COUNT = 10
MAX_COUNT = 1000
MAX_POINTS = 100_000
"""More combinations are a slip."""
_RANGE = re.compile(r"([^:]+):([^:]+):(log|lin)(?::([^:]+))?")
_FIELDS = tuple(field.name for field in dataclasses.fields(EstimateConfig))
_NUMBERS = ("num_samples", "max_params", "max_madds", "nu", "mu", "xi", "norm_epsilon")


def parse_grid(texts: Sequence[str]) -> Grid:
    """Read ``nu=20:2000:log mu=0,1,2``.

    Args:
        texts: ``NAME=VALUES`` each (``ReplayJob.grid``).

    Raises:
        ConfigError: If there is none, a name or value is not allowed, or a name is given twice.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise ConfigError(f"grid has {text!r}; give NAME=VALUES, such as mu=0,1,2")
        if name in grid:
            raise ConfigError(f"grid has {name} twice; give all its values at once: {name}=A,B,C")
        grid[name] = tuple(value for part in values.split(",") for value in _read(name, part))
    return check_grid(grid)


def check_grid(grid: Mapping[str, Sequence[Any]]) -> Grid:
    """The grid with every value once.

    Args:
        grid: Name of a setting -> its values.

    Raises:
        ConfigError: If it is empty, or a name or value is not allowed.
    """
    if not grid:
        raise ConfigError(
            "the grid is empty; give settings of the estimate, such as nu=20:2000:log mu=0,1,2"
        )
    unknown = {name: None for name in grid if name not in _FIELDS}
    if unknown:
        with_settings(EstimateConfig(), unknown, where="the grid")  # raises, with a hint
    checked = {}
    for name, values in grid.items():
        if isinstance(values, str) or not len(values):
            raise ConfigError(f"grid has {name}={values!r}; give it one or more values")
        # Any objective is allowed here: which estimator goes with it is a matter of the point.
        default = EstimateConfig(objective="trace-norm", estimator="second-order")
        if name == "estimator":
            default = EstimateConfig()
        configs = [with_settings(default, {name: value}, where="the grid") for value in values]
        checked[name] = tuple(dict.fromkeys(getattr(config, name) for config in configs))
    num = math.prod(map(len, checked.values()))
    if num > MAX_POINTS:
        raise ConfigError(
            f"the grid has {num} points; at most {MAX_POINTS} are allowed: give fewer values"
        )
    return checked


def points_of(grid: Grid) -> list[dict[str, Any]]:
    """All combinations, the last setting varying fastest."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def configs_of(
    points: Sequence[Mapping[str, Any]], default: Callable[[Mapping[str, Any]], EstimateConfig]
) -> list[EstimateConfig]:
    """The estimate's settings at each point.

    Args:
        points: Of ``points_of``.
        default: From some settings of a point, the ones that a preset depends on, to all others.

    Raises:
        ConfigError: If settings of a point contradict each other, or one is not read there.
    """
    defaults: dict[tuple[Any, ...], EstimateConfig] = {}
    configs = []
    for point in points:
        deciding = {n: point[n] for n in ("objective", "max_params", "max_madds") if n in point}
        key = tuple(sorted(deciding.items()))
        if key not in defaults:
            defaults[key] = default(deciding)
        base = defaults[key]
        given = [name for name in ONLY_OF_E if name in point]
        if given and not base.needs_gradient:
            raise ConfigError(
                f"the grid has {', '.join(given)}, which objective {base.objective} does not use; "
                "remove it from the grid, or add objective=trace-norm"
            )
        configs.append(dataclasses.replace(base, **point))
    return configs


def _read(name: str, text: str) -> list[Any]:
    """The values of one part between commas."""
    text = text.strip()
    span = _RANGE.fullmatch(text)
    if span is None:
        if not text:
            raise ConfigError(f"grid has {name} without a value; give some, such as {name}=A,B,C")
        return [_value(name, text)]
    if name not in _NUMBERS:
        raise ConfigError(f"grid has {name}={text}; only {', '.join(_NUMBERS)} can have a range")
    first, last = (_number(name, text, span[i]) for i in (1, 2))
    count = DEFAULT_COUNT if span[4] is None else _number(name, text, span[4])
    if not 2 <= count <= MAX_COUNT or count != int(count):
        raise ConfigError(f"grid has {name}={text}; the count after {span[3]} is 2 to {MAX_COUNT}")
    if span[3] == "log" and min(first, last) <= 0:
        raise ConfigError(f"grid has {name}={text}; both ends of a log range are above 0")
    space = np.geomspace if span[3] == "log" else np.linspace
    # Nine digits: what is printed can be typed in again.
    values = [float(f"{value:.9g}") for value in space(first, last, int(count))]
    return [round(value) for value in values] if name == "num_samples" else values


def _value(name: str, text: str) -> Any:
    if name not in _NUMBERS:
        return text
    if text.lower() == "none" and name in ("max_params", "max_madds"):
        return None
    try:
        number = float(text)
    except ValueError:
        return text  # ν may be a word; of the others the check says what is allowed
    return int(number) if name == "num_samples" and number == int(number) else number


def _number(name: str, text: str, part: str) -> float:
    try:
        number = float(part)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"grid has {name}={text}; {part!r} is not a number: give FIRST:LAST:log")
    return number
