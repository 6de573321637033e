"""The records of a search, and the answers they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasi_ray.config import PATH, EstimateConfig, get_preset
from nasi_ray.display.formats import plural
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.records.reader import identity_of, read_records
from nasi_ray.records.rows import SampleTable, SearchRecords
from nasi_ray.run.settings import with_settings
from nasi_ray.search.result import SearchResult, make_result
from nasi_ray.search.settings import auto_preset
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
    records: SearchRecords
    """Everything recorded, of every sample."""
    settings: Mapping[str, Any]
    """What the samples were made with."""

    @classmethod
    def open(cls, uri: str) -> Run:
        """Read a run; see ``nasi_ray.open_run``."""
        storage = open_storage(uri)
        identity, _ = identity_of(storage, "samples")
        return cls(
            uri=storage.uri,
            space=str(identity["space"]),
            records=read_records(uri),
            settings=identity,
        )

    def __repr__(self) -> str:
        return f"Run({self.space!r}, {plural(self.num_samples, 'sample')}, {self.uri!r})"

    @property
    def num_samples(self) -> int:
        """Samples with e and its gradient, or with measurements, whichever are more."""
        tables = [self.records.samples, *self.records.measurements.values()]
        return max((len(table) for table in tables if table is not None), default=0)

    @property
    def table(self) -> SampleTable | None:
        """Every sample with e and its gradient; None if there is none."""
        return self.records.samples

    def result(self, **estimate: Any) -> SearchResult:
        """α*, the cell and its margins for some settings of the estimate.

        Args:
            estimate: Fields of ``EstimateConfig``: ``num_samples``, ``objective``, ``estimator``,
                ``nu``, ``mu``, ``max_params``, ... The others come from the preset of the space
                that these records answer, with all samples of the run.

        Raises:
            ConfigError: If a name or value is not allowed, or the run has fewer samples.
            NasiRayError: If no sample is good.
        """
        config = self.config(**estimate)
        self.check(config)
        return make_result(
            self.records,
            space=get_space(self.space),
            config=config,
            uri=self.uri,
            identity=self.settings,
            lost=[],
            run={},
        )

    def config(self, **estimate: Any) -> EstimateConfig:
        """The settings of the estimate that ``result`` uses; arguments as there.

        Raises:
            ConfigError: If a name or value is not allowed.
        """
        preset = get_preset(self._preset(estimate)).estimate
        everything = dataclasses.replace(preset, num_samples=max(1, self._num_read_by(preset)))
        return with_settings(everything, estimate, where="the estimate")

    def _num_read_by(self, config: EstimateConfig) -> int:
        """Samples with what an estimate reads; all, if none has it, as an error will say."""
        path = self.records.measurements.get(PATH)
        table = self.records.samples if config.needs_gradient else path
        return self.num_samples if table is None else len(table)

    def _preset(self, estimate: Mapping[str, Any]) -> str:
        has_gradients = self.records.samples is not None
        objective = estimate.get("objective", "trace-norm" if has_gradients else None)
        if objective == "trace-norm":
            return "nasi-fix" if self.space == "darts" else "nasi-ntk"
        if objective is not None:
            return "nasi-panel"
        budgets = (estimate.get(name) for name in ("max_params", "max_madds"))
        return auto_preset(self.space, has_budget=any(limit is not None for limit in budgets))

    def cell(self, **estimate: Any) -> Architecture:
        """The architecture that ``result`` selects; arguments and errors as there."""
        return self.result(**estimate).architecture

    def to_pandas(self) -> pandas.DataFrame:
        """A row per sample, by its index: ``ok``, ``seconds``, and all that was measured."""
        import pandas  # takes a second to import

        frames = []
        if self.table is not None:
            columns = {name: getattr(self.table, name) for name in ("ok", "trace_norm", "seconds")}
            frames.append(pandas.DataFrame(columns, index=self.table.index))
        for table in self.records.measurements.values():
            columns = dict(table.values)
            if not frames:
                columns = {"ok": table.ok, **columns, "seconds": table.seconds}
            frames.append(pandas.DataFrame(columns, index=table.index))
        joined = pandas.concat(frames, axis=1) if frames else pandas.DataFrame()
        return joined.rename_axis(index="index")

    def check(self, config: EstimateConfig) -> None:
        """Refuse settings that need more samples than there are.

        Raises:
            ConfigError: If they do.
        """
        needed = num_samples_needed(config)
        used = self.records.below(needed)
        main = used.samples if config.needs_gradient else used.measurements.get(PATH)
        if main is None:
            return  # the estimate says what the records lack
        there = len(main)
        if there < needed:
            raise ConfigError(
                f"num_samples is {config.num_samples}, which needs the first {needed} samples, "
                f"and {self.uri} has {there} of them; ask for fewer, or continue the search with "
                "that number"
            )
