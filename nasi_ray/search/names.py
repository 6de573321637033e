"""Names of a search's series of records. Quick to import."""

from __future__ import annotations

from collections.abc import Sequence

from nasi_ray.config import PATH, PATH_MEASUREMENTS, EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.proxies import PROXIES

SAMPLES = "samples"
"""Name of the series of e and its gradient."""


def series_of(estimate: EstimateConfig, measure: Sequence[str]) -> tuple[str, ...]:
    """The series that a search records: what its estimate reads, then what else is asked for.

    Args:
        estimate: Settings of the estimate.
        measure: Names of measurements or proxies.

    Raises:
        ConfigError: If a name is not known.
    """
    wanted = [SAMPLES if estimate.needs_gradient else PATH]
    for name in measure:
        if name in PATH_MEASUREMENTS:
            wanted.append(PATH)
        elif name in PROXIES:
            wanted.append(name)
        else:
            allowed = ", ".join(dict.fromkeys([*PATH_MEASUREMENTS, *PROXIES]))
            raise ConfigError(f"measure has {name!r}; choose some of {allowed}")
    return tuple(dict.fromkeys(wanted))
