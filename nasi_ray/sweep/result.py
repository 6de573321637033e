"""The result of a sweep: for Python and for ``sweep.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasi_ray.display.formats import plural
from nasi_ray.search.result import SearchResult
from nasi_ray.spaces.base import Architecture

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class SweepResult:
    """A finished sweep."""

    content: Mapping[str, Any]
    """The content of ``sweep.json`` (``docs/sweep.md``)."""
    uri: str
    """The run directory: an absolute path or ``s3://bucket/prefix``."""
    searches: Sequence[Sequence[SearchResult | None]]
    """For each combination of settings a result per seed; None where a search failed."""
    consensus: Sequence[Architecture | None]
    """For each combination the cell that its seeds agree on; None if all searches failed."""

    files: tuple[str, ...]
    """Names of the files written into the run directory, beside ``runs/``."""

    def __repr__(self) -> str:
        num, points = len(self.content["seeds"]), len(self.searches)
        many = f", {points} combinations" if points > 1 else ""
        return f"SweepResult({self.content['space']!r}, {plural(num, 'seed')}{many}, {self.uri!r})"

    @property
    def architecture(self) -> Architecture | None:
        """The consensus of the only, or the first, combination."""
        return self.consensus[0]

    @property
    def num_failed(self) -> int:
        """Searches that failed."""
        return len(self.content["failures"])

    @property
    def num_lost(self) -> int:
        """Samples that no attempt completed, of all searches."""
        return sum(
            len(one["lost"]) for point in self.content["combinations"] for one in point["searches"]
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of ``sweep.json``."""
        return dict(self.content)

    def to_pandas(self) -> pandas.DataFrame:
        """A row per search: the settings that ``--set`` changed, seed, cell, run directory."""
        import pandas  # takes a second to import

        return pandas.DataFrame(
            [
                {**point["set"], **one}
                for point in self.content["combinations"]
                for one in point["searches"]
            ]
        )

    def _repr_svg_(self) -> str | None:
        """The picture of the consensus, for notebooks; None for cells that are not drawn."""
        draw = getattr(self.architecture, "_repr_svg_", None)
        return None if draw is None else str(draw())
