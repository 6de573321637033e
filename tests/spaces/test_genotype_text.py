"""Cells are read as the literature writes them, and nothing is evaluated."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.genotype import Genotype
from tests.spaces.cells import DARTS_V1, DARTS_V2
from tests.strategies import genotypes


@given(cell=genotypes())
def test_every_notation_gives_the_cell_back(cell: Genotype) -> None:
    texts = (cell.to_json(), cell.key, json.dumps(cell.to_dict(), indent=1), cell.to_darts())
    assert all(Genotype.parse(text) == cell for text in texts)
    assert Genotype.parse(f"# found\nX = genotypes.{cell.to_darts()}  # best\n") == cell


def test_published_cells_are_read_as_pasted() -> None:
    first, second = Genotype.parse(DARTS_V1), Genotype.parse(DARTS_V2)
    assert first.normal[:2] == (("sep_conv_3x3", 1), ("sep_conv_3x3", 0))
    assert second.normal_concat == second.reduce_concat == (2, 3, 4, 5)
    tuples = DARTS_V2.replace("[", "(").replace("]", ")").replace("range(2, 6)", "list(range(2,6))")
    assert Genotype.parse(tuples) == second
    positional = (
        DARTS_V2.replace("normal=", "")
        .replace("normal_concat=", "")
        .replace("reduce=", "")
        .replace("reduce_concat=", "")
    )
    assert Genotype.parse(positional) == second


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "[1, 2]",
        "{",
        "Genotype",
        "Genotype(",
        "Other(normal=[])",
        "Genotype(normal=[]); Genotype(normal=[])",
        "import os",
        "Genotype(1, 2, 3, 4, 5)",
        "Genotype(normal=[], normal=[])",
        "Genotype(**{})",
        "Genotype([], normal=[])",
        "Genotype(normal=__import__('os').getcwd())",
        "Genotype(normal=open('x'))",
        "Genotype(normal=[x for x in y])",
        "Genotype(normal_concat=range(2, 10**9))",
        "Genotype(normal_concat=range(2, 999999999))",
        "Genotype(normal_concat=range(6, 2))",
        "Genotype(normal_concat=range(2, 6, 0))",
        "Genotype(normal_concat=range('2'))",
        "Genotype(\0)",
        "[" * 5000,
        "Genotype(" + "[" * 5000,
        "Genotype(" + "-" * 90_000 + "1)",
        " " * 200_000,
        DARTS_V2.replace("skip_connect", "noise"),
        DARTS_V2.replace("range(2, 6)", "range(2, 7)"),
        DARTS_V2.replace("('skip_connect', 0)", "('skip_connect', 0.5)"),
        DARTS_V2.replace("reduce_concat=range(2, 6)", "reduce_concat=4"),
        DARTS_V2.replace("reduce_concat=range(2, 6)", ""),
    ],
)
def test_what_is_no_genotype_is_one_line(text: str) -> None:
    with pytest.raises(InvalidGenotypeError) as caught:
        Genotype.parse(text)
    assert len(str(caught.value).splitlines()) == 1
