from __future__ import annotations

import numpy as np
import torch

from nasi_ray.nasi.loss import LOSSES

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)
LABELS = torch.tensor([2, 1])


def test_cross_entropy_is_the_mean_of_minus_log_softmax() -> None:
    rows = LOGITS.numpy()
    expected = [np.log(np.exp(row).sum()) - row[y] for row, y in zip(rows, [2, 1], strict=True)]
    assert np.isclose(float(LOSSES["cross-entropy"](LOGITS, LABELS)), np.mean(expected), rtol=1e-12)


def test_mse_sums_over_classes_and_averages_over_the_batch() -> None:
    first = 1.0**2 + 2.0**2 + 0.5**2
    second = 0.0**2 + 2.0**2 + 1.0**2
    assert float(LOSSES["mse"](LOGITS, LABELS)) == (first + second) / 2
