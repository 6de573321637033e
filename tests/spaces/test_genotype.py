from __future__ import annotations

import ast
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.genotype import Genotype
from tests.strategies import genotypes

CELL = Genotype(
    normal=(("sep_conv_3x3", 0), ("skip_connect", 1), ("dil_conv_5x5", 2), ("max_pool_3x3", 0)),
    normal_concat=(2, 3),
    reduce=(("avg_pool_3x3", 1), ("sep_conv_5x5", 0)),
    reduce_concat=(2,),
)


@given(cell=genotypes())
def test_json_round_trip(cell: Genotype) -> None:
    assert Genotype.from_json(cell.to_json()) == cell
    assert Genotype.from_dict(json.loads(json.dumps(cell.to_dict()))) == cell


@given(cell=genotypes())
def test_darts_notation_evaluates_to_the_same_tuples(cell: Genotype) -> None:
    call = ast.parse(cell.to_darts(), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    assert call.func.id == "Genotype"
    assert call.args == []
    fields = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    assert list(fields) == ["normal", "normal_concat", "reduce", "reduce_concat"]
    for name, value in fields.items():
        assert isinstance(value, list)
        assert tuple(value) == getattr(cell, str(name))


def test_json_names_its_schema_and_space() -> None:
    fields = json.loads(CELL.to_json())
    assert fields["schema"] == "nasi_ray.genotype/1"
    assert fields["space"] == "darts"
    assert fields["normal"][1] == ["skip_connect", 1]
    assert CELL.to_json().endswith("}\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normal": ()}, "normal has 0 pairs; two per node are needed"),
        ({"reduce": CELL.reduce[:1]}, "reduce has 1 pairs; two per node are needed"),
        (
            {"reduce": (("noise", 0), ("skip_connect", 1))},
            "reduce node 0 has operation 'noise'; choose one of none, .*, conv_7x1_1x7",
        ),
        (
            {"normal": (*CELL.normal[:3], ("skip_connect", 3))},
            "normal node 1 takes input 3; allowed are 0 to 2",
        ),
        (
            {"reduce": (("skip_connect", -1), ("skip_connect", 0))},
            "reduce node 0 takes input -1; allowed are 0 to 1",
        ),
        (
            {"normal_concat": ()},
            r"normal_concat is \[\]; allowed are intermediate nodes 2 to 3, each once",
        ),
        (
            {"normal_concat": (1, 2)},
            r"normal_concat is \[1, 2\]; allowed are intermediate nodes 2 to 3, each once",
        ),
        (
            {"reduce_concat": (2, 3)},
            r"reduce_concat is \[2, 3\]; allowed are intermediate nodes 2 to 2, each once",
        ),
    ],
)
def test_what_is_no_cell_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidGenotypeError, match=f"^{message}$"):
        replace(CELL, **change)
    with pytest.raises(InvalidGenotypeError, match=f"^{message}$"):
        Genotype.from_dict({**CELL.to_dict(), **change})


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"normal": None}, "TypeError"),
        ({"normal": [["skip_connect"], ["skip_connect", 1]]}, "ValueError"),
        ({"normal": [["skip_connect", "first"], ["skip_connect", 1]]}, "TypeError"),
        ({"reduce_concat": 2}, "TypeError"),
        ({"reduce_concat": ["node0"]}, "TypeError"),
    ],
)
def test_malformed_fields_are_refused(change: dict[str, Any], kind: str) -> None:
    with pytest.raises(InvalidGenotypeError, match=f"not a DARTS genotype \\({kind}: .*it needs"):
        Genotype.from_dict({**CELL.to_dict(), **change})


@pytest.mark.parametrize("missing", ["normal", "normal_concat", "reduce", "reduce_concat"])
def test_missing_fields_are_named(missing: str) -> None:
    fields = {k: v for k, v in CELL.to_dict().items() if k != missing}
    with pytest.raises(InvalidGenotypeError, match=f"KeyError: '{missing}'"):
        Genotype.from_dict(fields)


@pytest.mark.parametrize("text", ["", "{", "Genotype(normal=[])"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidGenotypeError, match=r"^a genotype must be JSON: "):
        Genotype.from_json(text)


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("[]", "None"),
        ("3", "None"),
        ("{}", "None"),
        ('{"schema": "nasi_ray.genotype/2"}', "'nasi_ray.genotype/2'"),
    ],
)
def test_other_schemas_are_refused(text: str, schema: str) -> None:
    message = f"genotype schema {schema} is not known; this version reads 'nasi_ray.genotype/1'"
    with pytest.raises(InvalidGenotypeError, match=f"^{message}$"):
        Genotype.from_json(text)


@pytest.mark.parametrize("node", ["0.9", "true", "1e999", '"1"', "null"])
def test_a_node_that_is_no_whole_number_is_refused(node: str) -> None:
    text = (
        Genotype.from_dict(_FIELDS)
        .to_json()
        .replace('"sep_conv_3x3",\n      0', '"sep_conv_3x3",\n      @@', 1)
    )
    assert "@@" in text
    with pytest.raises(InvalidGenotypeError, match="is not a node number"):
        Genotype.from_json(text.replace("@@", node))


def test_a_genotype_of_another_space_or_with_a_node_twice_is_refused() -> None:
    text = Genotype.from_dict(_FIELDS).to_json()
    with pytest.raises(InvalidGenotypeError, match="'nb201'"):
        Genotype.from_json(text.replace('"darts"', '"nb201"'))
    with pytest.raises(InvalidGenotypeError, match="each once"):
        Genotype.from_dict({**_FIELDS, "normal_concat": [2, 3, 4, 4]})


_FIELDS = {
    "normal": [["sep_conv_3x3", 0], ["skip_connect", 1]] * 4,
    "normal_concat": [2, 3, 4, 5],
    "reduce": [["max_pool_3x3", 0], ["skip_connect", 1]] * 4,
    "reduce_concat": [2, 3, 4, 5],
}
