"""A search's answer, and what its records give again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.errors import DataError, RecordCorruptError
from nasi_ray.nasi.estimates import make_estimate
from nasi_ray.nasi.estimator import Estimate
from nasi_ray.pages.explore import Steps, steps_of
from nasi_ray.pages.lanes import slots_of
from nasi_ray.records.reader import identity_of, read_records
from nasi_ray.records.rows import SearchRecords
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.storage import Storage

_SETTINGS = (
    *("num_samples", "objective", "estimator", "max_params", "max_madds", "method"),
    *("mu", "xi", "pairing", "normalize", "norm_epsilon"),
)


class SearchRun:
    """A search's answer, and what its records give again; each is read when it is asked for."""

    def __init__(self, storage: Storage, answer: Mapping[str, Any]) -> None:
        self.storage, self.answer = storage, answer
        self.space: SearchSpace = get_space(str(answer["space"]))
        given = {name: answer[name] for name in _SETTINGS if name in answer}
        if answer.get("nu_asked") is not None:
            given["nu"] = answer["nu_asked"]
        self.config = EstimateConfig(**given)
        self.slots = slots_of(self.space, self.config.pairing)
        self._records: SearchRecords | None = None
        self._estimate: Estimate | None = None
        self._steps: Steps | None = None

    @property
    def has_map(self) -> bool:
        """Whether ν and μ are settings of the answer, and quick to change."""
        return self.config.needs_gradient and self.config.estimator == "straight-through"

    @property
    def cell(self) -> str:
        """What the answer selects, in the notation of the space."""
        if "genotype" in self.answer:
            return Genotype.from_dict(self.answer["genotype"]).to_string()
        return str(self.answer["architecture"])

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the samples were made with."""
        found: Mapping[str, Any] = self.answer["samples"]
        return found

    @property
    def records(self) -> SearchRecords:
        """Of the run."""
        if self._records is None:
            identity_of(self.storage, "samples")
            found = read_records(self.storage.uri)
            if found.samples is None and not found.measurements:
                raise DataError(f"the records of {self.storage.uri} are gone")
            self._records = found
        return self._records

    @property
    def estimate(self) -> Estimate:
        """The answer's α again, without its draws."""
        if self._estimate is None:
            self._estimate = make_estimate(
                self.records, self.space, self.config, self.identity, num_draws=0
            )
        return self._estimate

    @property
    def steps(self) -> Steps:
        """α at some T."""
        if self._steps is None:
            self._steps = steps_of(self.records, self.space, self.config, self.identity)
        return self._steps

    @property
    def alpha(self) -> FloatArray:
        """α of ``result.json``."""
        return alpha_of(self.answer, self.space)


def alpha_of(answer: Mapping[str, Any], space: SearchSpace) -> FloatArray:
    """α of an answer, shape (num_logits,); -inf where no cell is allowed.

    Raises:
        KeyError: If a decision is missing.
        RecordCorruptError: If a decision has another number of logits than the space gives it.
    """
    rows = [answer["alpha"][decision.name] for decision in space.decisions]
    if [len(row) for row in rows] != [decision.size for decision in space.decisions]:
        raise RecordCorruptError(f"alpha does not fit space {space.name}; run the search again")
    return np.array([-np.inf if v is None else v for row in rows for v in row])
