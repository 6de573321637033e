"""The functions of the package: what a notebook or script uses."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasi_ray
from nasi_ray import api
from nasi_ray.config import PATH_MEASUREMENTS
from nasi_ray.errors import ConfigError, NasiRayError, RecordConflictError, UnknownNameError
from nasi_ray.spaces import get_tabular_space
from nasi_ray.sweep import job as sweep_job
from nasi_ray.sweep.settings import seeds_of
from tests.toy import Quiet

TINY = {"batch_size": 2, "image_size": 8, "init_channels": 2, "num_workers": 0}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("runs") / "s1")
    nasi_ray.search("s1", num_samples=6, out=out, progress=None, **TINY)
    return out


@pytest.fixture(scope="module")
def ntk_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with e and its gradient."""
    out = str(tmp_path_factory.mktemp("runs") / "ntk")
    nasi_ray.search("s1", preset="nasi-ntk", num_samples=6, out=out, progress=None, **TINY)
    return out


def test_the_examples_of_the_docstrings_work() -> None:
    tested = doctest.testmod(api, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tested.failed == 0
    assert tested.attempted >= 6


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, nasi_ray; "
        "print([m for m in ('torch', 'ray', 'numpy', 'scipy', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_names_are_there_and_listed() -> None:
    assert sorted(nasi_ray.__all__) == nasi_ray.__all__
    assert set(nasi_ray.__all__) <= set(dir(nasi_ray))
    assert all(getattr(nasi_ray, name) is not None for name in nasi_ray.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'serach'"):
        _ = nasi_ray.serach  # type: ignore[attr-defined]


@pytest.mark.integration
def test_functions_keep_their_names_whatever_is_imported_first() -> None:
    code = (
        "import nasi_ray.search.settings, nasi_ray.study.settings, nasi_ray.sweep.settings, "
        "nasi_ray.finalists.job; "
        "from nasi_ray import finalists, search, study, sweep; "
        "print(finalists.__module__, search.__module__, study.__module__, sweep.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "nasi_ray.api nasi_ray.api nasi_ray.api nasi_ray.api\n"


def test_a_result_has_what_result_json_has(run_dir: str) -> None:
    result = nasi_ray.search("s1", num_samples=6, out=run_dir, progress=None, **TINY)
    assert result.uri == run_dir
    assert result.to_dict()["architecture"] == result.architecture.to_string()
    assert len(result.records.measurements["path"]) == result.num_samples == 6
    for name, margin in result.margins.items():
        assert result.to_dict()["margins"][name] == margin.value
        assert result.to_dict()["alpha"][name] == result.alpha[name].tolist()
    assert len(repr(result).splitlines()) == 1
    assert result._repr_svg_() is None


def test_records_answer_other_settings(ntk_dir: str) -> None:
    run = nasi_ray.open_run(ntk_dir)
    assert run.space == "s1"
    assert run.result(num_samples=6).to_dict()["nu_asked"] == "sweep"
    first = run.result(num_samples=3, method="ada", nu=5.0)
    assert first.num_samples == 3
    assert run.cell(num_samples=3, method="ada", nu=5.0) == first.architecture
    assert repr(run) == f"Run('s1', 6 samples, {ntk_dir!r})"
    frame = run.to_pandas()
    assert list(frame.columns) == ["ok", "trace_norm", "seconds"]
    assert first.table is not None
    assert frame["trace_norm"].tolist() == first.table.trace_norm.tolist()
    assert frame["ok"].all()


def test_measurements_answer_other_objectives(run_dir: str) -> None:
    run = nasi_ray.open_run(run_dir)
    default = run.result(num_samples=6).to_dict()
    assert (default["objective"], default["estimator"]) == ("panel", "second-order")
    limit = 2e6
    found = run.result(num_samples=6, objective="balanced", max_params=limit)
    assert found.to_dict()["objective"] == "balanced"
    assert found.to_dict()["num_params"] == found.architecture.num_params()
    assert found.to_dict()["num_params"] <= limit
    assert run.result(num_samples=6, max_params=limit).architecture == found.architecture
    with pytest.raises(ConfigError, match="this run has no gradients"):
        run.result(objective="trace-norm")
    with pytest.raises(ConfigError, match="max_params is 5; no cell of s1 fits: the smallest has"):
        run.result(max_params=5)
    frame = run.to_pandas()
    assert list(frame.columns) == ["ok", *PATH_MEASUREMENTS, "seconds"]
    column = run.records.measurements["path"].values["naswot"]
    np.testing.assert_array_equal(frame["naswot"], column)


@pytest.mark.parametrize("name", ["panel", "relative", "expressive", "balanced"])
def test_gradients_alone_refuse_other_objectives(ntk_dir: str, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        nasi_ray.open_run(ntk_dir).result(objective=name)
    assert f"no measurements; objective {name} needs them" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        ({"num_samples": 7}, "num_samples is 7, which needs the first 7 samples, and .* has 6"),
        ({"nu": "auto"}, "needs the first 50 samples, and .* has 6 of them"),
        ({"mu": -1}, "mu is -1.0; it must be at least 0"),
        ({"seed": 1}, "the estimate has no setting 'seed'; choose one of num_samples, objective"),
        ({"objective": "best"}, "objective is 'best' in the estimate"),
    ],
)
def test_records_refuse_what_they_cannot_answer(
    ntk_dir: str, estimate: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        nasi_ray.open_run(ntk_dir).cell(**estimate)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_sample": 3}, ConfigError, r"search\(\) has no setting 'num_sample'; did you mean"),
        ({"num_samples": "many"}, ConfigError, "num_samples is 'many' in search"),
        ({"num_samples": 0}, ConfigError, "num_samples is 0; it must be at least 1"),
        ({"loss": "hinge"}, ConfigError, "loss is 'hinge' in .*'cross-entropy' or 'mse'"),
        ({"preset": "best"}, UnknownNameError, "unknown preset 'best'"),
        ({"num_cells": 2}, ConfigError, "num_cells is 2; s1 needs at least 3"),
        ({"labels": "true"}, ConfigError, "which has no labels"),
    ],
)
def test_wrong_keywords_are_refused_at_once(
    settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        nasi_ray.search("s1", progress=None, **settings)


def test_a_display_of_ones_own_is_used(run_dir: str) -> None:
    quiet = Quiet()
    nasi_ray.search("s1", num_samples=7, out=run_dir, progress=quiet, **TINY)
    assert quiet.states[-1].num_done == 7


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordConflictError, match="holds no run of a search; name the --out"):
        nasi_ray.open_run(str(tmp_path))


def test_a_cell_has_a_picture_for_notebooks() -> None:
    space = nasi_ray.get_space("darts")
    cell = space.select({d.name: np.arange(float(d.size)) for d in space.decisions})
    assert isinstance(cell, nasi_ray.Genotype)
    picture = cell._repr_svg_()
    assert picture.startswith("<?xml")
    assert "</svg>" in picture


def test_an_unknown_study_names_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="unknown study 'x'; choose one of ablation, agn"):
        nasi_ray.study("x", progress=None)


@pytest.mark.parametrize(
    ("seeds", "expected"), [("10", (10,)), ("0:3", (0, 1, 2)), (7, (7,)), ([1, "4:6"], (1, 4, 5))]
)
def test_seeds_are_numbers_and_texts_and_no_characters(
    seeds: Any, expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(sweep_job, "run_sweep", lambda job, _: asked.append(seeds_of(job)))
    nasi_ray.sweep("nb201", seeds=seeds, progress=None)
    assert asked == [expected]


def test_seeds_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"seeds is None; give numbers, or texts such as '0:10'"):
        nasi_ray.sweep("nb201", seeds=None, progress=None)


def test_a_cell_to_train_may_be_a_path_and_that_of_another_space_says_how(tmp_path: Path) -> None:
    with pytest.raises(NasiRayError, match="missing"):
        nasi_ray.train(tmp_path / "missing", progress=None)
    cell = get_tabular_space("nb201").architecture(7)
    with pytest.raises(ConfigError, match=r"of type NB201Architecture; .*architecture='\|"):
        nasi_ray.train(cell, progress=None)
