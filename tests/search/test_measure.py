"""Measurements beside a search's samples: recorded once, extended later, read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasi_ray import open_run
from nasi_ray.config import PATH_MEASUREMENTS
from nasi_ray.errors import ConfigError, RecordConflictError
from nasi_ray.nasi.evaluator import Evaluator
from nasi_ray.nasi.measurements import PathEvaluator
from nasi_ray.records.reader import read_records
from nasi_ray.run import plan
from nasi_ray.search import job as search_job
from nasi_ray.search.job import run_search
from nasi_ray.search.names import series_of
from nasi_ray.search.result import SearchResult
from nasi_ray.search.series import ProxyEvaluator
from nasi_ray.search.settings import parse_search
from nasi_ray.show import show_lines
from tests.contracts.records import assert_same_measurements
from tests.toy import Quiet

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

OLD = Path(__file__).parents[1] / "runs_2026_11"
TINY = (
    *("--batch-size", "4", "--image-size", "8", "--init-channels", "2", "--num-cells", "3"),
    *("--num-workers", "0"),
)

Calls = list[tuple[str, int]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Evaluator and index of everything that is evaluated."""
    found: Calls = []
    for kind in (Evaluator, PathEvaluator, ProxyEvaluator):
        call = kind.__call__

        def spy(self: Any, index: int, call: Any = call) -> Any:
            found.append((type(self).__name__, index))
            return call(self, index)

        monkeypatch.setattr(kind, "__call__", spy)
    return found


def search(out: Path, *flags: str, num: int = 4) -> SearchResult:
    asked = ("--num-samples", str(num), "--out", str(out))
    return run_search(parse_search([*TINY, *flags, *asked]), Quiet())


def of(kind: type, indices: Sequence[int]) -> Calls:
    return [(kind.__name__, index) for index in indices]


def test_a_measurement_and_a_proxy_are_recorded_side_by_side(tmp_path: Path, calls: Calls) -> None:
    result = search(tmp_path, "--space", "s1", "--measure", "naswot", "snip")
    assert calls == of(PathEvaluator, range(4)) + of(ProxyEvaluator, range(4))
    assert not (tmp_path / "samples").exists()
    records = read_records(str(tmp_path))
    assert sorted(records.measurements) == ["path", "snip"]
    path, snip = records.measurements["path"], records.measurements["snip"]
    assert tuple(path.values) == PATH_MEASUREMENTS
    assert path.choices.tolist() == snip.choices.tolist()
    assert path.ok.all()
    assert snip.ok.all()
    assert set(result.to_dict()["measured"]) == {*PATH_MEASUREMENTS, "snip"}
    frame = open_run(str(tmp_path)).to_pandas()
    assert list(frame.columns) == ["ok", *PATH_MEASUREMENTS, "seconds", "snip"]
    np.testing.assert_array_equal(frame["snip"], snip.values["snip"])


def test_a_run_is_extended_without_evaluating_again(tmp_path: Path, calls: Calls) -> None:
    first = search(tmp_path, "--space", "s1", "--preset", "nasi-ntk")
    assert calls == of(Evaluator, range(4))
    parts = {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")}
    calls.clear()
    search(tmp_path, "--space", "s1", "--preset", "nasi-ntk", "--measure", "snip")
    assert calls == of(ProxyEvaluator, range(4))
    calls.clear()
    panel = search(tmp_path, "--space", "s1")
    assert calls == of(PathEvaluator, range(4))
    calls.clear()
    both = search(tmp_path, "--space", "s1", "--measure", "snip", num=6)
    assert calls == of(PathEvaluator, [4, 5]) + of(ProxyEvaluator, [4, 5])
    calls.clear()
    again = search(tmp_path, "--space", "s1", "--preset", "nasi-ntk")
    assert calls == []
    assert all(p.read_bytes() == data for p, data in parts.items())
    assert again.to_dict()["alpha"] == first.to_dict()["alpha"]
    assert (panel.num_samples, both.num_samples) == (4, 6)
    anew = search(tmp_path / "anew", "--space", "s1", "--measure", "snip", num=6)
    for name, table in anew.records.measurements.items():
        found = both.records.measurements[name]
        assert_same_measurements(without_seconds(table), without_seconds(found))


def without_seconds(table: Any) -> Any:
    table.seconds[:] = 0.0
    return table


def test_after_a_proxy_every_sample_is_still_what_it_was(tmp_path: Path) -> None:
    """Proxies get a copy of the supernet that the other series use."""
    flags = ("--space", "nb201", "--preset", "nasi-ntk")
    alone = search(tmp_path / "alone", *flags)
    beside = search(tmp_path / "beside", *flags, "--measure", "snip", "logit_variance", "synflow")
    assert beside.to_dict()["alpha"] == alone.to_dict()["alpha"]
    assert beside.to_dict()["lost"] == []
    panel = search(tmp_path / "panel", "--space", "nb201")
    for name, column in panel.records.measurements["path"].values.items():
        np.testing.assert_array_equal(column, beside.records.measurements["path"].values[name])


def test_measurements_alone_hold_a_run_to_its_settings(tmp_path: Path, calls: Calls) -> None:
    search(tmp_path, "--space", "s1")
    calls.clear()
    for flags in ((), ("--preset", "nasi-ntk"), ("--measure", "snip")):
        with pytest.raises(RecordConflictError, match="made with seed=0; asked for seed=1"):
            search(tmp_path, "--space", "s1", "--seed", "1", *flags)
    assert calls == []


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("search_s1", ("--space", "s1", "--preset", "nasi-panel")),
        (
            "search_darts",
            (
                *("--preset", "nasi-fix", "--num-cells", "3"),
                *("--objective", "relative", "--estimator", "score-function"),
            ),
        ),
    ],
)
def test_a_run_of_an_older_sampling_version_is_not_extended(
    tmp_path: Path, calls: Calls, name: str, flags: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / name, run)
    settings = ("--batch-size", "4", "--image-size", "8", "--init-channels", "4",
                "--num-workers", "0", "--num-samples", "12")  # fmt: skip
    asked = (*settings, *flags, "--measure", "snip", "--out", str(run))
    # Its samples differ in the last digits from those that would be measured beside them.
    with pytest.raises(
        RecordConflictError, match="sampling_version=1; this program makes version 3"
    ):
        run_search(parse_search(asked), Quiet())
    assert calls == []
    assert open_run(str(run)).records.samples is not None


@pytest.mark.parametrize(
    ("version", "preset"), [(2, "nasi-panel"), (2, "nasi-fix"), (4, "nasi-panel")]
)
def test_only_measurements_are_the_same_as_in_version_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, preset: str
) -> None:
    run = tmp_path / "run"
    settings = ("--space", "s1", "--preset", preset, "--batch-size", "4", "--image-size", "8",
                "--init-channels", "2", "--num-workers", "0", "--out", str(run))  # fmt: skip
    with monkeypatch.context() as patch:
        for module in (plan, search_job):
            patch.setattr(module, "SAMPLING_VERSION", version)
        run_search(parse_search((*settings, "--num-samples", "4")), Quiet())
    more = parse_search((*settings, "--num-samples", "6"))
    if (version, preset) == (2, "nasi-panel"):
        assert run_search(more, Quiet()).content["num_samples"] == 6
        return
    with pytest.raises(RecordConflictError, match=f"sampling_version={version}; this program"):
        run_search(more, Quiet())


def test_an_estimate_that_cannot_be_is_refused_before_anything_is_evaluated(
    tmp_path: Path, calls: Calls
) -> None:
    for flags, message in (
        (("--space", "s1", "--max-params", "10"), "no cell of s1 fits: the smallest has"),
        (("--max-params", "1e6"), "max_params is 1e\\+06; no cell of darts fits: the smallest"),
        (("--space", "s1", "--sample-per", "cell"), "use --sample-per step"),
    ):
        with pytest.raises(ConfigError, match=message):
            search(tmp_path, *flags)
    assert calls == []
    assert list(tmp_path.iterdir()) == []


def test_series_are_named_once_and_the_estimates_comes_first() -> None:
    panel, ntk = (
        parse_search(["--space", "s1", "--preset", p]).estimate for p in ("nasi-panel", "nasi-ntk")
    )
    assert series_of(panel, []) == ("path",)
    assert series_of(ntk, []) == ("samples",)
    measure = ["snip", "relu_units", "naswot", "snip", "synflow"]
    assert series_of(ntk, measure) == ("samples", "snip", "path", "synflow")
    assert series_of(panel, measure) == ("path", "snip", "synflow")


def test_answers_of_every_kind_are_shown_side_by_side(tmp_path: Path) -> None:
    for flags in (
        ("--preset", "nasi-fix"),
        ("--preset", "nasi-fix", "--nu", "1"),
        ("--preset", "nasi-fix", "--estimator", "second-order"),
        ("--preset", "nasi-fix", "--objective", "panel", "--estimator", "second-order"),
        ("--preset", "nasi-fix", "--objective", "balanced", "--estimator", "second-order",
         "--max-params", "2e6"),
    ):  # fmt: skip
        search(tmp_path, "--space", "s1", *flags)
    answers = list((tmp_path / "answers").iterdir())
    assert len(answers) == 5
    text = "\n".join(show_lines(str(tmp_path)))
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80
    for shown in ("trace-norm", "panel", "balanced", "second-order", "straight-through", "2e+06"):
        assert shown in text
    # What all share is said once.
    assert "pairing rank" in text
    assert text.count("rank") == 1
    probabilities = [
        list(json.loads(path.read_text())["kept_probabilities"].values()) for path in answers
    ]
    for row in probabilities:
        assert f"{sum(p >= 0.95 for p in row)} of {len(row)}" in text


def test_answers_of_earlier_versions_are_shown(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / "search_s1", run)
    text = "\n".join(show_lines(str(run)))
    assert "objective trace-norm, estimator straight-through, method fix" in text
    assert " of 7 " in text
