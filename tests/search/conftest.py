from __future__ import annotations

import pytest

from nasi_ray.nasi import evaluator as evaluate
from nasi_ray.records.rows import Sample


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices in the order in which they were evaluated."""
    indices: list[int] = []
    call = evaluate.Evaluator.__call__

    def spy(self: evaluate.Evaluator, index: int) -> Sample:
        indices.append(index)
        return call(self, index)

    monkeypatch.setattr(evaluate.Evaluator, "__call__", spy)
    return indices
