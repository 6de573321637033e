from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nasi_ray.networks.mixture import PathMixer, WeightedMixer, add

VALUES = [torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]), torch.tensor([100.0, 200.0])]


def test_path_evaluates_nothing_but_what_was_chosen() -> None:
    asked: list[int] = []

    def candidate(j: int) -> Tensor:
        asked.append(j)
        return VALUES[j]

    mixer = PathMixer(lambda cell, decision: {(1, 7): (2, 0)}[cell, decision])
    total = mixer.mix(1, 7, [partial(candidate, j) for j in range(3)])
    assert total.tolist() == [101.0, 202.0]
    assert asked == [2, 0]


def test_weights_multiply_every_candidate() -> None:
    weights = torch.tensor([0.5, 0.0, 2.0], requires_grad=True)
    mixer = WeightedMixer(lambda cell, decision: {(0, 1): weights}[cell, decision])
    total = mixer.mix(0, 1, [partial(VALUES.__getitem__, j) for j in range(3)])
    assert total.tolist() == [200.5, 401.0]
    (gradient,) = torch.autograd.grad(total.sum(), [weights])
    assert gradient.tolist() == [3.0, 30.0, 300.0]


def test_sum_runs_from_left_to_right() -> None:
    large, small = torch.tensor(2.0**24), torch.tensor(1.0)
    assert add(large, small, small) == large
    assert add(small, small, large) == large + 2
