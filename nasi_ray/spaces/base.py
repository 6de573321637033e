"""What a search space is: named decisions over candidates, and what they select. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasi_ray.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Decision:
    """One categorical choice with a logit per candidate.

    With ``num_chosen`` = k > 1 the k largest of α + g are taken (Gumbel-top-k, multi-hot).
    """

    name: str
    """Unique in its space, e.g. ``normal/node2/op``."""
    candidates: tuple[str, ...]
    """What each logit stands for, in order."""
    num_chosen: int = 1
    """Candidates a sampled architecture takes."""
    num_kept: int = 0
    """Candidates the final architecture keeps; 0: as many as are chosen."""

    @property
    def kept(self) -> int:
        """Candidates the final architecture keeps."""
        return self.num_kept or self.num_chosen

    @property
    def size(self) -> int:
        """Number of logits."""
        return len(self.candidates)


class SearchSpace(ABC):
    """A search space: its decisions, how they group into cells, and what α selects."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name used on the command line."""

    @property
    @abstractmethod
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, in the order of the logits."""

    @property
    @abstractmethod
    def cell_types(self) -> Mapping[str, Sequence[int]]:
        """Cell type -> positions (in ``decisions``) of the decisions its cells make."""

    @abstractmethod
    def select(self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank") -> Any:
        """The final architecture A* = argmax p_α(A) (Algorithm 1, line 8).

        Args:
            alpha: Decision name -> logits.
            pairing: Name of the rule by which inputs and operations are combined, where the
                space has more than one.
        """

    @property
    def num_logits(self) -> int:
        """Length of α as one vector."""
        return sum(d.size for d in self.decisions)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where each decision's logits lie in the vector α, in the order of ``decisions``."""
        result, start = [], 0
        for decision in self.decisions:
            result.append(slice(start, start + decision.size))
            start += decision.size
        return tuple(result)

    def split(self, alpha: FloatArray) -> dict[str, FloatArray]:
        """Split α into decision name -> logits.

        Args:
            alpha: shape (num_logits,)
        """
        return {d.name: alpha[s] for d, s in zip(self.decisions, self.slices, strict=True)}
