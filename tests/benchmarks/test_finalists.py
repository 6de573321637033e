"""What the study of finalists compares with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.finalists import Judge
from nasi_ray.spaces.nb201 import NB201


def test_random_search_is_judged_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [cell.to_string() for cell in NB201]
    # Many ties, and test accuracies that follow validation only roughly.
    valid = rng.integers(50, 80, size=len(names)).astype(float)
    test = np.clip(valid + rng.normal(0, 5, size=len(names)), 0, 100)
    columns = {"cifar10_valid_accuracy_12ep": valid, "cifar10_test_accuracy_200ep": test}
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"arch": names, **columns}), path)
    judge = Judge("nb201", str(path))
    assert judge.random(1) == pytest.approx((test.mean(), test.std()))
    drawn = rng.integers(len(names), size=(20_000, 5))
    # Of equal validation accuracies the first drawn, which is as likely as any.
    answers = test[drawn[np.arange(len(drawn)), valid[drawn].argmax(axis=1)]]
    mean, std = judge.random(5)
    assert mean == pytest.approx(answers.mean(), abs=4 * answers.std() / len(drawn) ** 0.5)
    assert std == pytest.approx(answers.std(), rel=0.03)
