"""The records of a search, and the answers they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasi_ray.config import EstimateConfig, get_preset
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.records.reader import identity_of, read_run
from nasi_ray.records.rows import SampleTable
from nasi_ray.run.settings import with_settings
from nasi_ray.search.result import SearchResult, make_result
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import Architecture
from nasi_ray.storage import open_storage

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Run:
    """A search's records, which answer for any settings of the estimate."""

    uri: str
    """The run directory."""
    space: str
    """Name of the space."""
    table: SampleTable
    """Every sample."""
    settings: Mapping[str, Any]
    """What the samples were made with."""

    @classmethod
    def open(cls, uri: str) -> Run:
        """Read a run; see ``nasi_ray.open_run``."""
        storage = open_storage(uri)
        identity, _ = identity_of(storage, "samples")
        table, space = read_run(uri)
        return cls(uri=storage.uri, space=space, table=table, settings=identity)

    def __repr__(self) -> str:
        return f"Run({self.space!r}, {len(self.table)} samples, {self.uri!r})"

    def result(self, **estimate: Any) -> SearchResult:
        """α*, the cell and its margins for some settings of the estimate.

        Args:
            estimate: Fields of ``EstimateConfig``: ``num_samples``, ``method``, ``nu``, ``mu``,
                ``xi``, ``pairing``, ``normalize``, ``norm_epsilon``. The others come from the
                space's default preset, with all samples of the run.

        Raises:
            ConfigError: If a name or value is not allowed, or the run has fewer samples.
            NasiRayError: If no sample is good.
        """
        preset = get_preset("nasi-fix" if self.space == "darts" else "nasi-ntk").estimate
        everything = dataclasses.replace(preset, num_samples=max(1, len(self.table)))
        config = with_settings(everything, estimate, where="the estimate")
        self._check(config)
        return make_result(
            self.table,
            space=get_space(self.space),
            config=config,
            uri=self.uri,
            identity=self.settings,
            lost=[],
            run={},
        )

    def cell(self, **estimate: Any) -> Architecture:
        """The architecture that ``result`` selects; arguments and errors as there."""
        return self.result(**estimate).architecture

    def to_pandas(self) -> pandas.DataFrame:
        """A row per sample: ``ok``, ``trace_norm``, ``seconds``, by index of the sample."""
        import pandas  # takes a second to import

        columns = {name: getattr(self.table, name) for name in ("ok", "trace_norm", "seconds")}
        return pandas.DataFrame(columns, index=pandas.Index(self.table.index, name="index"))

    def _check(self, config: EstimateConfig) -> None:
        needed = num_samples_needed(config)
        there = len(self.table.below(needed))
        if there < needed:
            raise ConfigError(
                f"num_samples is {config.num_samples}, which needs the first {needed} samples, "
                f"and {self.uri} has {there} of them; ask for fewer, or continue the search with "
                "that number"
            )
