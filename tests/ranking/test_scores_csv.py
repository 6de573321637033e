from __future__ import annotations

import csv
import io

import numpy as np

from nasi_ray.ranking.scores import ProxyScores
from nasi_ray.ranking.scores_csv import scores_csv
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.spaces.nb201 import NB201


def scores(name: str, *rows: list[float]) -> ProxyScores:
    return ProxyScores(
        proxy=name,
        seeds=(0, 3)[: len(rows)],
        scores=np.array(rows),
        num_failed=0,
        num_lost=0,
        num_absent=0,
        reasons={},
        seconds=np.empty(0),
    )


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_every_digit_is_there_and_a_missing_score_is_empty() -> None:
    third = 1 / 3
    found = read(
        scores_csv(
            "s1",
            np.array([3, 900]),
            [scores("num_params", [5.0, 6.0]), scores("snip", [third, np.nan], [third, 2.0])],
            np.array([6.25, 7.5]),
            {},
        )
    )
    assert [row["architecture"] for row in found] == [
        S1.architecture(i).to_string() for i in (3, 900)
    ]
    assert [row["hash"] for row in found] == [S1.architecture(i).hash() for i in (3, 900)]
    assert [row["error_percent"] for row in found] == ["6.25", "7.5"]
    assert [row["num_params"] for row in found] == ["5.0", "6.0"]
    assert [float(row["snip_seed0"]) for row in found[:1]] == [third]
    assert [row["snip"] for row in found] == [repr(third), ""]
    assert [row["snip_seed3"] for row in found] == [repr(third), "2.0"]
    assert "num_params_seed0" not in found[0]


def test_without_accuracies_there_is_no_column_of_them() -> None:
    (row,) = read(scores_csv("nb201", np.array([7]), [scores("snip", [1.0])], None, {}))
    assert row == {"architecture": NB201.architecture(7).to_string(), "snip": "1.0"}


def test_each_spelling_of_the_users_file_has_a_row_that_can_be_joined() -> None:
    found = read(
        scores_csv(
            "s1",
            np.array([3, 900]),
            [scores("snip", [1.0, 2.0])],
            None,
            {3: ["mine", "also mine"], 900: ["other,\nwith a break"]},
        )
    )
    assert [row["given"] for row in found] == ["mine", "also mine", "other,\nwith a break"]
    assert [row["snip"] for row in found] == ["1.0", "1.0", "2.0"]
    assert found[0]["architecture"] == found[1]["architecture"] == S1.architecture(3).to_string()
