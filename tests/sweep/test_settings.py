"""The settings of a sweep."""

from __future__ import annotations

from typing import Any

import pytest

from nasi_ray.errors import ConfigError, NasiRayError
from nasi_ray.sweep.settings import (
    SweepJob,
    combinations,
    make_sweep_job,
    parse_sweep,
    plain_compute,
    seeds_of,
)


def parse(line: str) -> SweepJob:
    return parse_sweep(line.split())


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        ("0:3", (0, 1, 2)),
        ("7", (7,)),
        ("5 0:2 1 5", (5, 0, 1)),
        ("999999999999999999", (999_999_999_999_999_999,)),
    ],
)
def test_seeds_are_numbers_and_ranges(given: str, seeds: tuple[int, ...]) -> None:
    assert seeds_of(parse(f"--seeds {given}")) == seeds


def test_seeds_from_python() -> None:
    assert seeds_of(make_sweep_job({"seeds": [3, "5:7"]})) == (3, 5, 6)


def test_values_make_combinations_of_the_right_types() -> None:
    job = parse("--space s1 --seeds 0:2 --set batch_size=16,32 --set max-params=none,2e6")
    found = combinations(job)
    assert [point.changed for point in found] == [
        {"batch_size": 16, "max_params": None},
        {"batch_size": 16, "max_params": 2e6},
        {"batch_size": 32, "max_params": None},
        {"batch_size": 32, "max_params": 2e6},
    ]
    assert [[one.samples.seed for one in point.jobs] for point in found] == [[0, 1]] * 4
    runs = [[one.run_uri for one in point.jobs] for point in found]
    # What differs in the estimate only shares its samples.
    assert runs[0] == runs[1]
    assert runs[2] == runs[3]
    assert not set(runs[0]) & set(runs[2])
    assert all(uri.startswith(f"{job.run_uri}/runs/s1-seed") for uri in runs[0])


def test_a_sweep_is_named_after_what_its_samples_share() -> None:
    one = parse("--space s1 --seeds 0:2 --num-samples 100")
    assert one.run_uri == parse("--space s1 --seeds 5 --num-samples 200").run_uri
    assert one.run_uri != parse("--space s1 --batch-size 8").run_uri


def test_the_preset_is_that_of_a_search() -> None:
    limited = combinations(parse("--space s1 --max-params 1e6"))[0].jobs[0]
    assert limited.estimate.objective == "balanced"
    assert combinations(parse("--space s1"))[0].jobs[0].estimate.objective == "panel"
    assert combinations(parse("--preset nasi-fix"))[0].jobs[0].estimate.objective == "trace-norm"


def test_searches_have_the_compute_settings_of_a_search() -> None:
    job = parse("--num-workers 4 --workers-per-search 2 --threads-per-worker 3")
    compute = plain_compute(job)
    assert type(compute).__name__ == "ComputeSettings"
    assert (compute.num_workers, compute.threads_per_worker) == (4, 3)
    assert combinations(job)[0].jobs[0].compute == compute


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--seeds 3:1",
            "seeds has '3:1'; give numbers from 0 on, of at most 18 digits, or FIRST:E",
        ),
        ("--seeds 9999999999999999999", "give numbers from 0 on, of at most 18 digits"),
        (
            "--seeds 0:1000000000",
            "seeds has '0:1000000000', which is 1000000000 seeds; at most 100000 searches are all",
        ),
        ("--seeds", "no seed was given; add some, as in --seeds 0:10"),
        ("--set seed=1,2", "--set cannot change seed; give --seeds"),
        ("--set space=s1,s2", "--set cannot change space; run a sweep for each space"),
        ("--set num_workers=1,2", "--set has 'num_workers=1,2'; give NAME=VALUE"),
        ("--set batch_size", "--set has 'batch_size'; give NAME=VALUE"),
        ("--set batch_size=16,,32", "--set has 'batch_size=16,,32'"),
        ("--set batch_size=16,16", "has a value twice; give each once"),
        ("--set batch_size=16 --set batch_size=32", "names a setting twice"),
        ("--set batch_size=many", "batch_size is 'many' in --set"),
        ("--set batch_size=1", "batch_size is 1"),
        ("--set init=ntk,none", "init is None in --set"),
        ("--space s1 --set num_cells=2", "num_cells"),
        ("--seeds 0:1000 --set batch_size=" + ",".join(map(str, range(2, 200))), "searches"),
        ("--workers-per-search 0", "workers_per_search is 0; allowed: at least 1"),
        ("--num-workers 1 --workers-per-search 2", "fewer than the 2 of one search"),
    ],
)
def test_what_is_not_allowed_is_one_line(line: str, message: str) -> None:
    with pytest.raises(NasiRayError) as caught:
        parse(line)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"seeds": [1.5]}, {"sets": ["a=1"]}, {"seeds": []}])
def test_what_python_gives_wrong(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_sweep_job(settings)


def objectives(line: str) -> list[str]:
    return [point.jobs[0].estimate.objective for point in combinations(parse(line))]


@pytest.mark.parametrize("limit", ["max_params", "max-madds"])
def test_a_limit_of_a_combination_chooses_the_preset_as_a_flag_does(limit: str) -> None:
    assert objectives(f"--space nb201 --set {limit}=none,2e5") == ["panel", "balanced"]
    flag = f"--{limit.replace('_', '-')}"
    assert objectives(f"--space nb201 {flag} 2e5") == ["balanced"]
    assert objectives(f"--space nb201 {flag} 1e6 --set {limit}=none,2e5") == ["panel", "balanced"]
    both = objectives(f"--space nb201 --max-params 1e6 --max-madds 9e7 --set {limit}=none,2e5")
    assert both == ["balanced", "balanced"]


def test_a_limit_of_a_combination_makes_the_search_of_a_flag() -> None:
    given = "--space nb201 --seeds 0 --num-samples 50"
    (_, of_set) = combinations(parse(f"{given} --set max_params=none,2e5"))
    (of_flag,) = combinations(parse(f"{given} --max-params 2e5"))
    assert of_set.jobs[0].estimate == of_flag.jobs[0].estimate
    assert of_set.jobs[0].samples == of_flag.jobs[0].samples


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--objective relative", ["relative"] * 2),
        ("--objective panel", ["panel"] * 2),
        ("--objective balanced --max-params 1e6", ["balanced"] * 2),
        ("--preset nasi-panel", ["panel"] * 2),
        ("--preset nasi-relative", ["relative"] * 2),
        ("--set objective=panel,relative", ["panel", "relative"] * 2),
    ],
)
def test_an_objective_that_is_given_stays_whatever_the_limits(
    given: str, expected: list[str]
) -> None:
    assert objectives(f"--space nb201 --set max_params=none,2e5 {given}") == expected


def test_darts_has_one_preset_whatever_the_limits() -> None:
    assert objectives("--set max_params=none,3e6") == ["expressive", "expressive"]
