"""What the studies of the straight-through gradient refuse before anything is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.config import ComputeSettings, EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.study.job import run_study
from nasi_ray.study.searches import run_source
from nasi_ray.study.settings import (
    AblationStudy,
    AgnosticStudy,
    EffectivenessStudy,
    Study,
    StudySamples,
    StudySettings,
    Table2Study,
    TradeoffStudy,
)
from tests.toy import Quiet

PLAIN = EstimateConfig(num_samples=2, nu=1000.0)
IGNORED: list[tuple[dict[str, Any], str]] = [
    ({"estimator": "second-order"}, "estimator is second-order; "),
    ({"estimator": "score-function"}, "estimator is score-function; "),
    ({"estimator": "reinmax"}, "estimator is reinmax; "),
    ({"max_params": 1e6}, "max_params is given; "),
    ({"max_madds": 1e8}, "max_madds is given; "),
    ({"estimator": "second-order", "max_madds": 1e8}, "max_madds is given; "),
]


def settings_for(out: Path, **estimate: Any) -> StudySettings:
    return StudySettings(
        seeds=(0,),
        samples=StudySamples(
            data=str(out / "images"), batch_size=4, image_size=8, init_channels=2, num_cells=3
        ),
        estimate=replace(PLAIN, **estimate),
        compute=ComputeSettings(num_workers=0),
        out=str(out / "out"),
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of every architecture of s1."""
    hashes = list(dict.fromkeys(digest.tobytes() for digest in S1.hashes()))
    accuracies = np.linspace(0.9, 0.95, len(hashes))
    path = tmp_path_factory.mktemp("table") / "s1.parquet"
    columns = {"hash": pa.array(hashes, pa.binary(16)), "test_accuracy": pa.array(accuracies)}
    pq.write_table(pa.table(columns), path)
    return str(path)


def assert_refused(error: ConfigError, given: str) -> None:
    text = str(error)
    assert text.startswith(given)
    assert "`presets` or `cells`" in text
    assert "\n" not in text


@pytest.mark.parametrize(("changes", "given"), IGNORED)
def test_records_of_other_estimators_and_of_limits_are_refused(
    changes: dict[str, Any], given: str, tmp_path: Path, evaluated: list[int]
) -> None:
    settings = settings_for(tmp_path, **changes)
    with run_source(settings, Quiet()) as source:
        searches = source.plan(settings.samples, "random-data", [settings.estimate])
        with pytest.raises(ConfigError) as caught:
            source.tables(searches)
    assert_refused(caught.value, given)
    assert evaluated == []


@pytest.mark.parametrize(
    "kind", [EffectivenessStudy, TradeoffStudy, Table2Study, AblationStudy, AgnosticStudy]
)
@pytest.mark.parametrize(("changes", "given"), [IGNORED[0], IGNORED[3]])
def test_every_study_of_the_gradient_refuses_what_it_would_ignore(
    kind: type[Any],
    changes: dict[str, Any],
    given: str,
    table: str,
    tmp_path: Path,
    evaluated: list[int],
) -> None:
    settings = replace(settings_for(tmp_path, **changes), table=table)
    spaces = {"spaces": ("s1",)} if kind is Table2Study else {}
    job: Study = kind(settings=settings, **spaces)
    with pytest.raises(ConfigError) as caught:
        run_study(job, Quiet(), command="")
    assert_refused(caught.value, given)
    assert evaluated == []


def test_the_straight_through_gradient_without_limits_is_answered(
    tmp_path: Path, evaluated: list[int]
) -> None:
    settings = settings_for(tmp_path)
    with run_source(settings, Quiet()) as source:
        (table,) = source.tables(source.plan(settings.samples, "random-data", [PLAIN]))
    assert len(table) == 2
    assert evaluated == [0, 1]
