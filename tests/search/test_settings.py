from __future__ import annotations

from pathlib import Path

import pytest

from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.search.settings import make_search_job, options_without_effect, parse_search


def test_the_default_of_darts_is_the_preset_chosen_for_it() -> None:
    job = parse_search([])
    assert (job.estimate.objective, job.estimate.estimator) == ("expressive", "score-function")
    assert (job.samples.num_cells, job.samples.data) == (5, "random")


def test_the_papers_fixed_preset() -> None:
    job = parse_search(["--preset", "nasi-fix"])
    estimate = job.estimate
    assert (estimate.num_samples, estimate.method, estimate.nu) == (100, "fix", 100.0)
    assert (estimate.mu, estimate.xi) == (2.0, 1.0)
    assert (job.samples.batch_size, job.samples.data) == (64, "random")


@pytest.mark.parametrize("space", ["s1", "s3", "nb201"])
def test_spaces_with_tables_have_the_preset_settled_on_them(space: str) -> None:
    for argv in (["--space", space], [f"--space={space}", "--preset", "auto"]):
        job = parse_search([*argv, "--seed", "3"])
        assert (job.samples.space, job.samples.init) == (space, "ntk")
        assert (job.estimate.objective, job.estimate.estimator) == ("panel", "second-order")
    paper = parse_search(["--space", space, "--preset", "nasi-fix"])
    assert (paper.samples.init, paper.estimate.nu) == ("default", 100.0)


@pytest.mark.parametrize("limit", ["--max-params", "--max-madds"])
def test_with_a_limit_the_preset_is_the_one_for_limits(limit: str, tmp_path: Path) -> None:
    flags = ["--space", "s1", limit, "1e6"]
    assert parse_search(flags).estimate.objective == "balanced"
    assert parse_search([*flags, "--preset", "nasi-panel"]).estimate.objective == "panel"
    name = limit.removeprefix("--").replace("-", "_")
    (tmp_path / "my.yaml").write_text(f"space: s1\n{name}: 1000000.0\n")
    from_file = parse_search(["--config", str(tmp_path / "my.yaml")])
    assert from_file.estimate.objective == "balanced"
    assert make_search_job({"space": "s1", name: 1e6}).estimate.objective == "balanced"


def test_a_preset_may_change_what_is_sampled() -> None:
    job = parse_search(["--preset", "nasi-ntk", "--space", "s1", "--batch-size", "8"])
    assert (job.estimate.nu, job.estimate.normalize, job.estimate.mu) == ("sweep", "each", 2.0)
    assert (job.samples.space, job.samples.num_cells, job.samples.batch_size) == ("s1", 3, 8)
    paper = parse_search(["--space", "s1", "--preset", "nasi-1shot1"])
    assert (paper.estimate.method, paper.samples.batch_size) == ("ada", 64)


@pytest.mark.parametrize("flag", [["--preset", "nasi-ada"], ["--preset=nasi-ada"]])
def test_flags_override_the_preset_wherever_they_stand(flag: list[str]) -> None:
    for argv in ([*flag, "--mu", "3"], ["--mu", "3", *flag]):
        estimate = parse_search(argv).estimate
        assert (estimate.method, estimate.nu, estimate.mu) == ("ada", 500.0, 3.0)


def test_auto_and_numbers_are_both_read() -> None:
    job = parse_search(["--nu", "auto", "--num-workers", "auto", "--gpus-per-worker", "0.25"])
    assert job.estimate.nu == "auto"
    assert job.compute.num_workers == "auto"
    assert job.compute.gpus_per_worker == 0.25
    assert parse_search(["--nu", "12.5", "--num-workers", "3"]).estimate.nu == 12.5


def test_unknown_preset_names_the_allowed_ones() -> None:
    with pytest.raises(
        UnknownNameError, match="'best'; choose one of auto, nasi-1shot1, nasi-ada, nasi-balanced"
    ):
        parse_search(["--preset", "best"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--batch-size", "1"], "batch_size is 1; it must be at least 2"),
        (["--num-samples", "0"], "num_samples is 0"),
        (["--nu", "-1"], "nu is -1.0"),
        (["--temperature", "0"], "temperature is 0.0"),
        (["--threads-per-worker", "0"], "threads_per_worker is 0"),
        (["--gpus-per-worker", "1.5"], "gpus_per_worker is 1.5"),
        (["--max-params", "0"], "max_params is 0.0; it must be positive"),
        (["--measure", "snap"], "measure has 'snap'; choose some of ntk_trace_estimate, "),
        (["--preset", "nasi-fix", "--objective", "panel"], "estimator is 'straight-through', wh"),
        (["--space", "s1", "--estimator", "reinmax"], "objective is 'panel'; use estimator second"),
    ],
)
def test_values_out_of_range_are_told_in_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_search(argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_shows_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_search(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--preset", "--data", "--labels", "--nu", "--num-workers", "--out", "--pairing"):
        assert flag in text
    assert "75 a temporary error" in " ".join(text.split())


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--nu", "50", "--mu", "1"], ["--nu", "--mu"]),
        (["--labels", "random"], ["--labels"]),
        (["--labels", "random", "--measure", "snip"], []),
        (["--preset", "nasi-fix", "--nu", "50"], []),
    ],
)
def test_settings_of_e_are_named_where_e_is_not_read(flags: list[str], named: list[str]) -> None:
    lines = options_without_effect(parse_search(flags))
    assert [line.split()[0] for line in lines] == named
    assert all(
        "has no effect: objective expressive does not use the trace" in line for line in lines
    )


@pytest.mark.parametrize("estimator", ["second-order", "score-function"])
def test_settings_of_the_gradient_step_are_named_where_there_is_none(estimator: str) -> None:
    flags = ["--space", "s1", "--preset", "nasi-ntk", "--estimator", estimator]
    assert options_without_effect(parse_search(flags)) == []
    given = ["--xi", "2", "--normalize", "max", "--norm-epsilon", "0.1", "--mu", "1"]
    lines = options_without_effect(parse_search([*flags, *given]))
    assert [line.split()[0] for line in lines] == ["--xi", "--normalize", "--norm-epsilon"]
    assert all(
        f"has no effect: estimator {estimator} takes no gradient step" in line for line in lines
    )
    straight = ["--space", "s1", "--preset", "nasi-ntk"]
    assert options_without_effect(parse_search([*straight, *given])) == []
