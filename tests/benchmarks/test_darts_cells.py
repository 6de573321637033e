from __future__ import annotations

import random

from benchmarks.darts_cells import DARTS_V1, DARTS_V2, random_cell, standing
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
