"""A search that ends when its decisions stand: at the same samples however it was run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nasi_ray
from nasi_ray.config import ComputeSettings
from nasi_ray.errors import ConfigError
from nasi_ray.nasi import confidence
from nasi_ray.pool.connection import connect
from nasi_ray.search.text import summary_lines

pytestmark = pytest.mark.usefixtures("blank_pictures")

TINY: dict[str, Any] = {
    "batch_size": 2, "image_size": 8, "init_channels": 2, "num_workers": 0, "progress": None,
    "num_samples": 12, "preset": "nasi-relative",
}  # fmt: skip


@pytest.fixture(autouse=True)
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confidence, "FIRST_CHECKPOINT", 6)


def search(out: Path, **settings: Any) -> nasi_ray.SearchResult:
    return nasi_ray.search("s1", out=str(out), **{**TINY, **settings})


def test_it_ends_at_a_checkpoint_and_says_so(tmp_path: Path, evaluated: list[int]) -> None:
    found = search(tmp_path, stop_when_stable=0.01)
    assert evaluated == list(range(6))
    content = found.content
    assert (content["num_samples"], content["max_num_samples"]) == (6, 12)
    assert content["stop_when_stable"] == 0.01
    assert json.loads((tmp_path / "result.json").read_text())["num_samples"] == 6
    assert "ended before 12 samples: every decision stands" in summary_lines(content)
    again = search(tmp_path, stop_when_stable=0.01)
    assert evaluated == list(range(6))
    assert again.estimate.alpha.tobytes() == found.estimate.alpha.tobytes()


def test_samples_beyond_the_stop_do_not_count(tmp_path: Path, evaluated: list[int]) -> None:
    whole = search(tmp_path / "whole")
    assert len(evaluated) == 12
    stopped = search(tmp_path / "whole", stop_when_stable=0.01)
    assert len(evaluated) == 12
    fresh = search(tmp_path / "fresh", stop_when_stable=0.01)
    assert stopped.num_samples == fresh.num_samples == 6
    assert stopped.estimate.alpha.tobytes() == fresh.estimate.alpha.tobytes()
    run = nasi_ray.open_run(str(tmp_path / "whole"))
    replayed = run.result(num_samples=6, objective="relative", estimator="score-function")
    assert replayed.estimate.alpha.tobytes() == fresh.estimate.alpha.tobytes()
    assert "stop_when_stable" not in whole.content


def test_a_resumed_search_ends_where_it_would_have(tmp_path: Path, evaluated: list[int]) -> None:
    search(tmp_path, num_samples=4)
    found = search(tmp_path, stop_when_stable=0.01)
    assert evaluated == list(range(6))
    assert found.num_samples == 6


def test_without_a_stable_checkpoint_all_samples_are_evaluated(
    tmp_path: Path, evaluated: list[int]
) -> None:
    found = search(tmp_path, stop_when_stable=1.0)
    assert len(evaluated) == found.num_samples == 12
    assert "no checkpoint below 12 samples was stable" in summary_lines(found.content)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray itself
def test_workers_of_ray_end_it_at_the_same_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = set()
    with connect(None, ComputeSettings(num_workers=2)):
        for probability in (0.01, 0.1, 0.3, 1.0):
            asked: dict[str, Any] = {"stop_when_stable": probability, "num_samples": 48}
            here = search(tmp_path / f"here{probability}", **asked)
            on_ray = search(tmp_path / f"ray{probability}", num_workers=2, **asked)
            assert on_ray.num_samples == here.num_samples
            assert on_ray.content["probabilities"] == here.content["probabilities"]
            assert on_ray.estimate.alpha.tobytes() == here.estimate.alpha.tobytes()
            # Nothing was evaluated beyond where it ended.
            runs = [nasi_ray.open_run(result.uri) for result in (here, on_ray)]
            assert [run.num_samples for run in runs] == [here.num_samples] * 2
            ends.add(here.num_samples)
        # A trial of a sweep has a process of its own, where the first checkpoint is the usual one.
        monkeypatch.setattr(confidence, "FIRST_CHECKPOINT", 50)
        asked = {k: v for k, v in TINY.items() if k != "num_workers"} | {"num_samples": 60}
        asked |= {"seeds": [0, 1], "stop_when_stable": 0.01}
        sweeps = [
            nasi_ray.sweep("s1", out=str(tmp_path / f"sweep{n}"), num_workers=n, **asked)
            for n in (0, 2)
        ]
    assert ends == {6, 8, 17, 48}
    one, other = (result.to_pandas() for result in sweeps)
    assert one["num_samples"].tolist() == other["num_samples"].tolist() == [50, 50]
    assert one["kept_probabilities"].tolist() == other["kept_probabilities"].tolist()


@pytest.mark.parametrize("value", [0.0, 1.5, float("nan")])
def test_a_probability_is_above_0_and_at_most_1(tmp_path: Path, value: float) -> None:
    with pytest.raises(ConfigError, match="it must be above 0 and at most 1"):
        search(tmp_path, stop_when_stable=value)
