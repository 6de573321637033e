"""Which part of a data set is read, and how. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nasi_ray.errors import ConfigError

if TYPE_CHECKING:
    from nasi_ray.config import SampleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """As the options of the same names in ``SampleConfig``."""

    split: str = "train"
    """Split to read, if the source has splits."""
    image_column: str = ""
    """Column of a Parquet data set; empty: one of the usual names."""
    label_column: str = ""
    """Likewise."""
    skip_broken: bool = False
    """Leave out images that cannot be read, instead of an error."""

    @classmethod
    def of(cls, samples: SampleConfig) -> ReadOptions:
        """Those of a run's settings."""
        return cls(
            split=samples.split,
            image_column=samples.image_column,
            label_column=samples.label_column,
            skip_broken=samples.skip_broken,
        )

    def refuse_columns(self, source: str, kind: str) -> None:
        """Refuse names of columns where there are none.

        Raises:
            ConfigError: If a column is named.
        """
        for option in ("image_column", "label_column"):
            if name := getattr(self, option):
                raise ConfigError(
                    f"{option} is {name!r}, but {source} is {kind}, which has no columns; leave it "
                    "out, or name a Parquet data set"
                )
