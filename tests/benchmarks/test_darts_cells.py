from __future__ import annotations

import random

from benchmarks.darts_cells import DARTS_V1, DARTS_V2, agreement, noise, random_cell, standing
from nasi_ray.spaces import Genotype


def test_cells_stand_among_the_random_ones_that_were_trained() -> None:
    generator = random.Random(0)
    drawn = [random_cell(generator) for _ in range(5)]
    named = {"V1": Genotype.parse(DARTS_V1), "V2": Genotype.parse(DARTS_V2)}
    keys = [cell.to_json() for cell in (named["V1"], *drawn[:4])]
    top1 = dict(zip(keys, (51.0, 40.0, 50.0, 60.0, 70.0), strict=True))
    lines = standing(named, drawn, top1, dict.fromkeys(keys, 1234))
    assert "| V1 | 1,234 | 51.00 | 50% |" in [" ".join(line.split()) for line in lines]
    assert not any("V2" in line for line in lines)
    assert lines[-1].startswith("4 random cells: ")
    assert lines[-1].endswith("40.00, 47.50, 55.00, 62.50, 70.00.")


def test_the_noise_is_that_of_one_training() -> None:
    # Two trainings differ by 2 points, so each deviates by 2 / √2 from another of its cell.
    text = noise([(50.0, 52.0), (60.0, 58.0), (70.0, 72.0), (80.0, 78.0)])
    assert text.startswith("4 cells with two seeds: standard deviation of one training 1.41 points")
    assert "of the cells 12.91; rank correlation of the seeds +1.00 [" in text
    assert noise([(50.0, 52.0)]).startswith("Too few cells")


def test_the_agreement_has_its_sign() -> None:
    text = agreement([1.0, 2.0, 3.0, 4.0], [40.0, 30.0, 20.0, 10.0])
    assert text.startswith("4 random cells trained in the other way: least, quartiles and largest")
    assert "top-1 10.00, 17.50, 25.00, 32.50, 40.00; rank" in text
    assert "rank correlation with the first way -1.00 [" in text
