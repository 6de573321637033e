"""A list of DARTS cells as a space: one that can be ranked, and have a table of accuracies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from nasi_ray.arrays import FloatArray
from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.base import Decision, TabularSpace
from nasi_ray.spaces.darts import DARTS, NETWORKS
from nasi_ray.spaces.genotype import Genotype


class ListedSpace(TabularSpace[Genotype]):
    """The cells of a list, each once, in its order; its decisions are those of ``darts``.

    Args:
        genotypes: The cells; repeated ones are left out.
    """

    def __init__(self, genotypes: Sequence[Genotype]) -> None:
        self._positions: dict[str, int] = {}
        for genotype in genotypes:
            self._positions.setdefault(genotype.key, len(self._positions))
        self._genotypes = tuple(Genotype.parse(key) for key in self._positions)
        digest = hashlib.sha256("\n".join(self._positions).encode()).hexdigest()
        self._name = f"{DARTS.name}-{digest[:12]}"

    @property
    def name(self) -> str:
        """``darts-`` and a digest of the list."""
        return self._name

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """See ``DartsSpace``."""
        return DARTS.decisions

    @property
    def cell_types(self) -> Mapping[str, Sequence[int]]:
        """See ``DartsSpace``."""
        return DARTS.cell_types

    def select(self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank") -> Genotype:
        """See ``DartsSpace``; the cell need not be in the list."""
        return DARTS.select(alpha, pairing=pairing)

    @property
    def networks(self) -> str:
        """See ``SearchSpace``."""
        return NETWORKS

    @property
    def num_architectures(self) -> int:
        """Distinct cells of the list."""
        return len(self._genotypes)

    def architecture(self, index: int) -> Genotype:
        """The cell at a position of the list.

        Raises:
            IndexError: If the position is out of range.
        """
        if not 0 <= index < len(self._genotypes):
            raise IndexError(
                f"the list has no architecture number {index}; allowed: 0 to "
                f"{len(self._genotypes) - 1}"
            )
        return self._genotypes[index]

    def index(self, architecture: Genotype) -> int:
        """Position of a cell in the list.

        Raises:
            InvalidGenotypeError: If it is not there.
        """
        if architecture.key not in self._positions:
            raise InvalidGenotypeError(f"{architecture.to_string()} is not in the list")
        return self._positions[architecture.key]

    def parse(self, text: str) -> Genotype:
        """Read a cell of the list in any notation.

        Raises:
            InvalidGenotypeError: If it is none, or not in the list.
        """
        genotype = Genotype.parse(text)
        return self.architecture(self.index(genotype))

    @property
    def table_file(self) -> str:
        """See ``TabularSpace``."""
        return "darts.parquet"

    @property
    def key_column(self) -> str:
        """``genotype``."""
        return "genotype"

    @property
    def epochs(self) -> int:
        """See ``TabularSpace``; as in App. B.4."""
        return 600
