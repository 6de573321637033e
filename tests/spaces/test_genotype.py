from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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
            "normal node 1 takes input 3; it must be 0 to 2",
        ),
        (
            {"reduce": (("skip_connect", -1), ("skip_connect", 0))},
            "reduce node 0 takes input -1; it must be 0 to 1",
        ),
        (
            {"normal_concat": ()},
            r"normal_concat is \[\]; allowed: intermediate nodes 2 to 3, each once",
        ),
        (
            {"normal_concat": (1, 2)},
            r"normal_concat is \[1, 2\]; allowed: intermediate nodes 2 to 3, each once",
        ),
        (
            {"reduce_concat": (2, 3)},
            r"reduce_concat is \[2, 3\]; allowed: intermediate nodes 2 to 2, each once",
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


WHOLE = Genotype(
    normal=CELL.normal + CELL.reduce * 2,
    normal_concat=(2, 3, 4, 5),
    reduce=CELL.reduce * 4,
    reduce_concat=(2, 3, 4, 5),
)

PASTED: dict[str, Callable[[Genotype], str]] = {
    "lists": lambda cell: cell.to_darts(),
    "tuples": lambda cell: (
        f"Genotype(normal={cell.normal!r}, normal_concat={cell.normal_concat!r}, "
        f"reduce={cell.reduce!r}, reduce_concat={cell.reduce_concat!r})"
    ),
    "range": lambda cell: (
        f"Genotype(normal={list(cell.normal)}, normal_concat=range(2, 6), "
        f"reduce={list(cell.reduce)}, reduce_concat=list(range(2, 6)))"
    ),
    "a name": lambda cell: f"DARTS_V2 = {cell.to_darts()}",
    "a log": lambda cell: f"05/01 03:12:00 PM genotype = {cell.to_darts()}\n",
    "lines": lambda cell: cell.to_darts().replace(", ", ",\n    ") + "  # the best",
    "no names": lambda cell: (
        f"Genotype({list(cell.normal)}, range(2, 6), {list(cell.reduce)}, range(2, 6))"
    ),
    "JSON of ours": lambda cell: cell.to_json(),
    "JSON": lambda cell: json.dumps(cell.to_dict()),
}


@pytest.mark.parametrize("notation", PASTED)
def test_a_cell_is_read_as_people_have_it(notation: str) -> None:
    assert Genotype.parse(PASTED[notation](WHOLE)) == WHOLE


EXECUTED: list[str] = []
NO_CELLS = [
    "",
    "5",
    "null",
    "[]",
    "\0",
    "[" * 15_000,
    "[" * 200_000,
    '{"a":' * 3_000,
    "9" * 15_000,
    "NaN",
    '"\\ud800"',
    "Genotype()",
    "Genotype(",
    "Genotype(\0)",
    "Genotype(" + "[" * 15_000,
    "Genotype(" + "-" * 15_000 + "1)",
    "Genotype(" + "1+" * 9_000 + "1)",
    "Genotype(" + "a." * 9_000 + "a)",
    "Genotype(normal=" + "9" * 15_000 + ")",
    "Genotype(normal=range(10**9))",
    "Genotype(normal=[], normal_concat=range(999999999999), reduce=[], reduce_concat=[])",
    "Genotype(normal=range(0, 9, 0))",
    "Genotype(normal=range('a'))",
    "Genotype(normal=list())",
    "Genotype(normal={[]})",
    "Genotype(normal={[]: 1})",
    "Genotype(normal='\\d')",
    "Genotype(*[1])",
    "Genotype(**{})",
    "Genotype(1, 2, 3, 4, 5)",
    "Genotype(other=[])",
    "Genotype(normal=1)(2)",
    "Genotype(normal=[('skip_connect', True)], normal_concat=[2], reduce=[], reduce_concat=[2])",
    "Genotype(normal='ab', normal_concat=[2], reduce='ab', reduce_concat=[2])",
    "Genotype(normal=__import__('tests.spaces.test_genotype').EXECUTED.append('it'))",
    "Genotype(normal=[EXECUTED.append('it') for _ in range(9)])",
    "Genotype(normal=(lambda: EXECUTED.append('it'))())",
    "Genotype(normal=f'{EXECUTED.append(1)}')",
    '{"normal": [[["' + "x" * 9_000 + '"], 0]], "normal_concat": []}',
    '{"schema": ["' + "x" * 9_000 + '"]}',
]


@pytest.mark.parametrize("text", NO_CELLS, ids=range(len(NO_CELLS)))
def test_what_is_no_cell_is_one_line_and_never_executed(text: str) -> None:
    for read in (Genotype.parse, Genotype.from_json):
        with pytest.raises(InvalidGenotypeError) as caught:
            read(text)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    assert EXECUTED == []


def test_published_cells_are_read(data_dir: Path) -> None:
    table = pq.read_table(data_dir / "darts" / "darts_published_cells.parquet")
    texts = table["genotype"].to_pylist()
    own = [text for text in texts if '"noise"' not in text]  # an operation of another space
    assert len(own) == len(texts) - 2
    for text in own:
        assert Genotype.parse(Genotype.parse(text).to_darts()) == Genotype.parse(text)
