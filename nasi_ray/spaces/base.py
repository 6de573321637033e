"""What a search space is: named decisions over candidates, and what they select. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import ConfigError

MIN_NUM_CELLS = 3
"""With fewer, a supernet would have no cell before its first reduction."""

Keys = npt.NDArray[np.uint8] | list[str]
"""Keys of architectures in a table: hashes, shape (architectures, 16), or strings."""


Cost = Literal["params", "multiply_adds"]
"""What a network costs: trainable parameters, or multiply-adds for one image."""


class Architecture(Protocol):
    """One architecture of a space: the outcome of its decisions."""

    def to_string(self) -> str:
        """Its notation; ``TabularSpace.parse`` reads it back in spaces that can be enumerated."""

    def fields(self) -> dict[str, Any]:
        """JSON-ready fields that name it in results, such as ``architecture`` and ``hash``."""

    def num_params(self) -> int | None:
        """Trainable parameters of the benchmark's own network; None if there is no such network."""


class TabularArchitecture(Architecture, Protocol):
    """An architecture whose accuracy can be in a table."""

    @property
    def key(self) -> str:
        """Its key in a table: its hash (hexadecimal) or its string."""

    def num_params(self) -> int:
        """Trainable parameters of the benchmark's own network."""


A = TypeVar("A", bound=TabularArchitecture)


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
    def select(self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank") -> Architecture:
        """The final architecture A* = argmax p_α(A) (Algorithm 1, line 8).

        Args:
            alpha: Decision name -> logits.
            pairing: Name of the rule that combines inputs and operations, in spaces with more
                than one rule.
        """

    @property
    def pairings(self) -> tuple[str, ...]:
        """Names of the rules that ``select`` knows; with one name the setting has no effect."""
        return ("rank",)

    def costs(self, kind: Cost) -> FloatArray | None:
        """What the final network of every configuration costs.

        Args:
            kind: Parameters, or multiply-adds of convolutions and linear layers.

        Returns:
            shape (options, ..., options), one axis a decision (``spaces.options``); None if it is
            not known, or the space cannot be enumerated.
        """
        return None

    def option_costs(self, kind: Cost) -> Sequence[FloatArray] | None:
        """What each option of each decision adds to the final network, about.

        It steers a search for cells of limited size where a space cannot be enumerated.

        Args:
            kind: As for ``costs``.

        Returns:
            Per decision, shape (options,); None if it is not known.
        """
        return None

    def costs_of(self, architecture: Any) -> dict[Cost, float]:
        """What the final network of an architecture costs; empty if it is not known here."""
        return {}

    @property
    def networks(self) -> Callable[..., Any] | str | None:
        """A function space -> ``networks.SpaceNetworks``, or its name: ``module:function``.

        With a name, torch is imported only when it is needed. None: the space has no networks, and
        its records can only be read.
        """
        return None

    @property
    def num_cells(self) -> int:
        """Cells of the supernet unless asked otherwise."""
        return 8

    @property
    def max_num_cells(self) -> int | None:
        """The largest number of cells of a supernet; None: no limit."""
        return None

    def resolve_num_cells(self, num_cells: int | Literal["auto"]) -> int:
        """Turn ``auto`` into the space's usual number of cells.

        Raises:
            ConfigError: If there are fewer than ``MIN_NUM_CELLS``, or more than the space allows.
        """
        resolved = self.num_cells if num_cells == "auto" else num_cells
        if resolved < MIN_NUM_CELLS:
            raise ConfigError(
                f"num_cells is {resolved}; {self.name} needs at least {MIN_NUM_CELLS}, so that a "
                "cell comes before the first reduction"
            )
        if self.max_num_cells is not None and resolved > self.max_num_cells:
            raise ConfigError(
                f"num_cells is {resolved}; {self.name} allows at most {self.max_num_cells}"
            )
        return resolved

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


class TabularSpace(SearchSpace, Generic[A]):
    """A space that can be enumerated, and can have tables of accuracies."""

    @abstractmethod
    def select(self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank") -> A:
        """See ``SearchSpace``."""

    @property
    @abstractmethod
    def num_architectures(self) -> int:
        """Number of configurations, equal cells counted apart."""

    @abstractmethod
    def architecture(self, index: int) -> A:
        """The configuration at a position of the enumeration.

        Raises:
            IndexError: If the position is out of range.
        """

    @abstractmethod
    def index(self, architecture: A) -> int:
        """Position of an architecture in the enumeration.

        Raises:
            InvalidGenotypeError: If it is not of this space.
        """

    @abstractmethod
    def parse(self, text: str) -> A:
        """Read ``Architecture.to_string``.

        Raises:
            InvalidGenotypeError: If it is not of this space.
        """

    @property
    @abstractmethod
    def table_file(self) -> str:
        """Name of its table in a directory of tables."""

    @property
    @abstractmethod
    def epochs(self) -> int:
        """Epochs of the benchmark's full schedule."""

    @property
    def key_column(self) -> str:
        """Key column of its tables: ``hash`` or ``arch``."""
        return "arch"

    def keys(self) -> Keys:
        """The key of every configuration, in the order of the enumeration.

        Configurations with the same key are the same architecture.
        """
        return [architecture.key for architecture in self]

    @property
    def num_channels(self) -> int:
        """Channels of the first cells of the benchmark's own networks."""
        return 16

    @property
    def min_channels(self) -> int:
        """Smallest number of channels with which all of its cells have a network."""
        return 1

    def __iter__(self) -> Iterator[A]:
        return map(self.architecture, range(self.num_architectures))

    def random(self, generator: np.random.Generator) -> A:
        """Draw uniformly over configurations (not over distinct cells)."""
        return self.architecture(int(generator.integers(self.num_architectures)))


def first_positions(keys: Keys) -> IntArray:
    """For every position, the first one with the same key, shape (configurations,).

    Args:
        keys: As ``TabularSpace.keys`` gives them.
    """
    rows = np.array(keys) if isinstance(keys, list) else np.ascontiguousarray(keys)
    flat = rows if rows.ndim == 1 else rows.view(f"V{rows.shape[1]}").reshape(-1)
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    positions: IntArray = first[inverse].astype(np.int64)
    return positions


def along(table: FloatArray, ndim: int, *axes: int) -> FloatArray:
    """A table with its axes at the given places of ``ndim``, to be broadcast."""
    shape = [1] * ndim
    for axis, size in zip(axes, table.shape, strict=True):
        shape[axis] = size
    return table.transpose(np.argsort(axes)).reshape(shape)


def sum_grid(tables: Sequence[FloatArray]) -> FloatArray:
    """Σ_d tables[d][option of d] of every configuration, shape (options, ..., options)."""
    total = np.zeros([len(table) for table in tables])
    for d, table in enumerate(tables):
        total += along(table, len(tables), d)
    return total
