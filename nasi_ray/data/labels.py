"""The kind of labels of a batch."""

from __future__ import annotations

from typing import Literal

from nasi_ray.errors import ConfigError

Labels = Literal["true", "random", "permuted"]


def resolve_labels(labels: Labels | Literal["auto"], data: str) -> Labels:
    """Resolve ``auto``, and refuse labels that the data do not have.

    Args:
        labels: ``SampleConfig.labels``.
        data: ``SampleConfig.data``.

    Raises:
        ConfigError: If true labels are asked for with random data.
    """
    if data == "random":
        if labels in ("true", "permuted"):
            raise ConfigError(
                f"labels is {labels!r} and data is 'random', which has no labels; use labels auto "
                "or random, or a data set"
            )
        return "random"
    return "true" if labels == "auto" else labels
