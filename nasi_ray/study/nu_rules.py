"""Values of ν that follow from the records: a study's own quantile rule beside what there is."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError, NasiRayError
from nasi_ray.records import SampleTable

_QUANTILE = re.compile(r"q(\d{1,2}(?:\.\d+)?|100)")


def check_nu(rule: str) -> None:
    """Refuse what is no rule.

    Raises:
        ConfigError: If it is neither a number ≥ 0, ``auto``, nor ``q`` with a percentile.
    """
    if rule == "auto" or _QUANTILE.fullmatch(rule):
        return
    try:
        EstimateConfig(nu=float(rule))
    except ValueError:
        raise ConfigError(
            f"nu is {rule!r}; it must be a number ≥ 0, auto, or a percentile of e such as q25"
        ) from None


def with_nu(config: EstimateConfig, rule: str, table: SampleTable) -> EstimateConfig:
    """Replace ν by a rule.

    Args:
        config: Settings of the estimate.
        rule: A number; ``auto``: eq. 40; ``q25``: the 25th percentile of e over the T samples.
        table: Samples of one seed.

    Raises:
        ConfigError: If the rule is none of these.
        NasiRayError: If no sample is good.
    """
    check_nu(rule)
    if rule == "auto":
        return dataclasses.replace(config, nu="auto")
    if not rule.startswith("q"):
        return dataclasses.replace(config, nu=float(rule))
    used = table.below(config.num_samples)
    if not used.ok.any():
        raise NasiRayError(f"nu={rule} needs good samples, and there is none")
    percentile = float(np.percentile(used.trace_norm[used.ok], float(rule[1:])))
    return dataclasses.replace(config, nu=percentile)
