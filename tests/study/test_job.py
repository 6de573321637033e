"""Every subcommand as a function call, on real tables and tiny supernets."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasi_ray import estimate
from nasi_ray.config import ComputeSettings, EstimateConfig
from nasi_ray.errors import (
    ConfigError,
    DataError,
    NasiRayError,
    SearchStoppedError,
    StorageError,
    UnknownNameError,
)
from nasi_ray.nasi import estimator
from nasi_ray.nasi import evaluator as evaluate
from nasi_ray.pool import nodes
from nasi_ray.pool.nodes import WorkerPlan
from nasi_ray.pool.tune import TrialResources
from nasi_ray.records.reader import read_run as read_run
from nasi_ray.records.rows import Sample
from nasi_ray.search import job as launch
from nasi_ray.search import many, series
from nasi_ray.spaces import get_space
from nasi_ray.storage import LocalStorage, open_storage
from nasi_ray.study.job import run_study
from nasi_ray.study.searches import samples_of_mode
from nasi_ray.study.selection import replay
from nasi_ray.study.settings import (
    AblationStudy,
    AgnosticStudy,
    CellsStudy,
    EffectivenessStudy,
    Study,
    StudySamples,
    StudySettings,
    Table2Study,
    TradeoffStudy,
    parse_study,
)
from nasi_ray.tables.accuracies import open_accuracies
from tests.contracts.s3_server import BUCKET, new_prefix, s3_server
from tests.toy import Quiet

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

TINY = StudySamples(batch_size=4, image_size=8, init_channels=2, num_cells=3)
T = 4


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label in range(10):
        (path / str(label)).mkdir()
        for i in range(3):
            pixels = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / str(label) / f"{i}.png")
    return path


def settings_for(out: Path, data_dir: Path, images: Path) -> StudySettings:
    return StudySettings(
        seeds=(0, 1),
        table=str(data_dir),
        samples=replace(TINY, data=str(images)),
        estimate=EstimateConfig(num_samples=T, method="ada", nu=1000.0, mu=1.0),
        compute=ComputeSettings(num_workers=0),
        out=str(out),
    )


@pytest.fixture
def settings(tmp_path: Path, data_dir: Path, images: Path) -> StudySettings:
    return settings_for(tmp_path / "out", data_dir, images)


@pytest.fixture(scope="module")
def agnostic(
    tmp_path_factory: pytest.TempPathFactory, data_dir: Path, images: Path
) -> dict[str, Any]:
    """A study of every data mode."""
    out = tmp_path_factory.mktemp("agnostic")
    return study(AgnosticStudy(settings=settings_for(out, data_dir, images)))


@pytest.fixture
def searched(settings: StudySettings, agnostic: dict[str, Any]) -> StudySettings:
    """Settings whose searches of every data mode are stored."""
    made = Path(agnostic["runs"][0]["run"]).parent
    shutil.copytree(made, Path(settings.out) / "runs")
    return settings


def study(job: Study) -> dict[str, Any]:
    """Run, and check what every study promises of its files."""
    found = run_study(job, Quiet(), command="python jobs/study.py …")
    content, files = dict(found.content), found.files
    out = Path(job.settings.out)
    (name,) = (file for file in files if file.endswith(".json"))
    stored: dict[str, Any] = json.loads((out / name).read_text())
    assert stored == content
    assert stored["schema"] == "nasi_ray.study/2"
    assert set(stored) >= {"command", "settings", "seeds", "versions", "machine", "seconds"}
    text = (out / name.replace(".json", ".md")).read_text()
    assert "python jobs/study.py …" in text
    assert all(description in text for description in stored["metrics"].values())
    for file in files:
        if file.endswith(".svg"):
            assert f"]({file})" in text
            assert (out / file.replace(".svg", ".png")).read_bytes().startswith(b"\x89PNG")
    return stored


def test_agnostic_pairs_the_same_architectures(agnostic: dict[str, Any]) -> None:
    result = agnostic["result"]
    assert set(result) == {"random-labels", "random-data"}
    for found in result.values():
        assert [len(x) for x, _ in found["pairs"]] == [T, T]
        assert -1 <= found["spearman"]["value"] <= 1
    # The images of both sides are the same, so e with true labels is, too.
    assert result["random-labels"]["pairs"][0][0] == result["random-data"]["pairs"][0][0]


def test_effectiveness_replays_shorter_searches(searched: StudySettings) -> None:
    found = study(EffectivenessStudy(settings=searched, step=1))
    curve = found["result"]["curve"]
    assert [point["num_samples"] for point in curve] == [1, 2, 3, 4]
    (run,) = [r["run"] for r in found["runs"] if r["seed"] == 1]
    accuracies = open_accuracies("s1", searched.table, "")
    shorter = replace(searched.estimate, num_samples=2)
    selected = replay(read_run(run)[0], shorter, accuracies)
    assert curve[1]["selections"][1]["architecture"] == selected.architecture
    assert curve[1]["selections"][1]["error_percent"] == selected.error_percent


def test_tradeoff_has_correlations_groups_and_grid(searched: StudySettings) -> None:
    job = TradeoffStudy(settings=searched, nus=(0.0, "q50", 1e6), mus=(1.0, 2.0))
    result = study(job)["result"]
    assert {(r["x"], r["y"]) for r in result["relations"]} >= {("e", "error")}
    assert sum(group["num"] for group in result["groups"]) == 2 * T
    assert len(result["grid"]) == 12
    zero = next(p for p in result["grid"] if (p["method"], p["nu"], p["mu"]) == ("fix", 0, 1))
    assert zero["statistics"]["num_tied"] == 2
    assert zero["statistics"]["mean"] is None
    files = [f"tradeoff-s1{end}" for end in ("-relation.svg", "-grid.svg", ".md")]
    before = [(Path(searched.out) / file).read_bytes() for file in files]
    assert b"tied (all 2)" in before[-1]
    study(job)
    again = [(Path(searched.out) / file).read_bytes() for file in files]
    assert again[:-1] == before[:-1], "the same records make the same pictures"


def test_table2_has_every_space_mode_and_baseline(searched: StudySettings) -> None:
    found = study(Table2Study(settings=searched, spaces=("s1", "nb201")))
    assert set(found["result"]) == {"s1", "nb201"}
    assert "108 epochs" in found["metrics"]["s1"]
    assert "200 epochs" in found["metrics"]["nb201"]
    for space in found["result"].values():
        assert set(space["modes"]) == {"true", "random-labels", "random-data"}
        assert space["reference"]["best"] < space["reference"]["random_mean"]
    text = (Path(searched.out) / "table2.md").read_text()
    assert "7.3 ± 1.1" in text
    assert "not published" in text


def test_ablation_varies_one_setting_at_a_time(
    settings: StudySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimator, "NUM_ARCHITECTURES_FOR_NU", 2 * T)
    job = AblationStudy(
        settings=settings,
        init_values=("ntk",),
        init_per_values=("sample",),
        init_channels_values=(),
        num_cells_values=(),
        batch_size_values=(),
        batch_norm_values=(),
        loss_values=(),
        sample_per_values=("cell",),
        num_samples_values=(3, 100),
        nu_values=("q50", "auto"),
        mu_values=(2.0,),
        normalize_values=("each",),
        rule_values=("nasi-1shot1", "nasi-fix"),
    )
    found = study(job)
    variations = {(v["factor"], v["value"]): v for v in found["result"]["variations"]}
    assert set(variations) == {
        *(("init", v) for v in ("ntk", "default")),
        *(("init_per", v) for v in ("sample", "search")),
        *(("sample_per", v) for v in ("cell", "step")),
        *(("num_samples", v) for v in ("3", "4")),
        *(("nu", v) for v in ("q50", "auto", "1000")),
        *(("mu", v) for v in ("2", "1")),
        *(("normalize", v) for v in ("each", "max")),
        *(("rule", v) for v in ("nasi-1shot1", "nasi-fix")),
    }
    bases = [v for v in variations.values() if v["is_base"]]
    assert len(bases) == 8
    assert not variations["rule", "nasi-fix"]["is_base"]
    assert all(v["selections"] == bases[0]["selections"] for v in bases)
    assert variations["sample_per", "cell"]["spearman"] is None
    assert variations["init", "ntk"]["median_trace_norm"] != bases[0]["median_trace_norm"]
    # ν = auto needs more samples (eq. 40); the base's records serve all but three variations.
    assert sorted(r["num_samples"] for r in found["runs"]) == [T, T, T, T, T, T, 2 * T, 2 * T]


@pytest.mark.parametrize("space", ["s3", "darts", "nb201"])
def test_cells_need_no_table(settings: StudySettings, space: str) -> None:
    bare = replace(settings, table="", samples=replace(settings.samples, space=space))
    found = study(CellsStudy(settings=bare))["result"]
    tables = [
        read_run(str(run))[0] for run in sorted(Path(settings.out).glob(f"runs/true-{space}-*"))
    ]
    alphas = [estimate(table, settings.estimate).alpha for table in tables]
    named = get_space(space)
    for cell, alpha in zip(
        [*found["cells"], found["consensus"]], [*alphas, np.mean(alphas, axis=0)], strict=True
    ):
        selected = named.select(named.split(alpha))
        assert cell["fields"] == json.loads(json.dumps(selected.fields()))
        assert cell["num_params"] == selected.num_params()
        assert cell["num_decisions"] == sum(d.size > d.kept for d in named.decisions)
    text = (Path(settings.out) / f"cells-{space}.md").read_text()
    assert "| consensus |" in text


def test_records_are_shared_and_nothing_is_evaluated_twice(
    settings: StudySettings, evaluated: list[int]
) -> None:
    study(AgnosticStudy(settings=settings))
    assert len(evaluated) == 3 * 2 * T
    evaluated.clear()
    first = study(Table2Study(settings=settings))
    study(EffectivenessStudy(settings=settings))
    again = study(Table2Study(settings=settings))
    assert evaluated == []
    assert again["result"] == first["result"]


def test_lost_samples_are_counted_and_named(
    settings: StudySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = series.make_series_evaluator

    def losing(config: Any, *args: Any) -> Any:
        evaluator = make(config, *args)
        lost = evaluate.lost_sample
        return lambda i: lost("s1", i, "worker died") if i == 3 else evaluator(i)

    monkeypatch.setattr(launch, "make_series_evaluator", losing)
    found = study(AgnosticStudy(settings=settings))
    assert found["num_lost"] == 6
    assert [run["lost"] for run in found["runs"]] == [[3]] * 6
    assert [len(x) for x, _ in found["result"]["random-data"]["pairs"]] == [T - 1, T - 1]
    text = (Path(settings.out) / "agnostic-s1.md").read_text()
    assert "samples left out: 6, of which 6 because every attempt" in text


def test_all_searches_share_one_connection_and_a_replay_needs_none(
    settings: StudySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def connect(address: str | None, workers: ComputeSettings) -> Iterator[None]:
        events.append(f"up {address}")
        yield
        events.append("down")

    def run_here(
        function: Any,
        shared: Any,
        positions: Any,
        resources: TrialResources,
        on_end: Any,
        meter: None,
    ) -> None:
        events.append(f"{len(positions)} trials, {resources.at_once} at once")
        for position in positions:
            function(position, *shared)
            on_end(position, None)

    workers = WorkerPlan(
        num_workers=2,
        cpus_per_worker=1,
        gpus_per_worker=0.0,
        labels={},
        is_auto=False,
        capacity_timeout_s=1.0,
    )
    monkeypatch.setattr("nasi_ray.pool.connection.connect", connect)
    monkeypatch.setattr(nodes, "plan_for", lambda config: workers)
    monkeypatch.setattr(nodes, "has_autoscaler", lambda: True)
    monkeypatch.setattr(many, "run_trials", run_here)
    on_ray = replace(settings, compute=ComputeSettings(num_workers=2, address="auto"))
    study(EffectivenessStudy(settings=on_ray))
    assert events == ["up auto", "2 trials, 2 at once", "down"]
    events.clear()
    study(EffectivenessStudy(settings=on_ray))
    assert events == []


def test_a_study_on_s3_is_the_same_as_on_disk(settings: StudySettings) -> None:
    on_disk = study(EffectivenessStudy(settings=settings))
    with s3_server():
        uri = f"s3://{BUCKET}/{new_prefix()}"
        job = EffectivenessStudy(settings=replace(settings, out=uri))
        found = run_study(job, Quiet(), command="")
        content, files = found.content, found.files
        assert {f"effectiveness-s1.{end}" for end in ("md", "json", "svg", "png", "yaml")} == set(
            files
        )
        storage = open_storage(uri)
        assert json.loads(storage.read("effectiveness-s1.json")) == content
        assert content["result"] == on_disk["result"]
        assert any("/samples/" in name for name in storage.list("runs/"))


def test_a_stopped_study_continues_where_it_was(
    settings: StudySettings, evaluated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = evaluate.Evaluator.__call__

    def stop_in_the_second_search(self: evaluate.Evaluator, index: int) -> Sample:
        if len(evaluated) == T + 2:
            raise KeyboardInterrupt
        return call(self, index)

    monkeypatch.setattr(evaluate.Evaluator, "__call__", stop_in_the_second_search)
    with pytest.raises(SearchStoppedError, match="2 of 4 samples stored"):
        study(EffectivenessStudy(settings=settings))
    assert not (Path(settings.out) / "effectiveness-s1.json").exists()
    monkeypatch.setattr(evaluate.Evaluator, "__call__", call)
    evaluated.clear()
    continued = study(EffectivenessStudy(settings=settings))
    assert evaluated == [2, 3]
    at_once = study(EffectivenessStudy(settings=replace(settings, out=f"{settings.out}-at-once")))
    assert continued["result"] == at_once["result"]


def test_a_disk_that_fills_at_the_outcome_keeps_the_samples_and_says_so(
    settings: StudySettings, evaluated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LocalStorage.write

    def full(self: LocalStorage, name: str, data: bytes) -> None:
        if name.startswith("effectiveness"):
            raise StorageError("disk full")
        write(self, name, data)

    monkeypatch.setattr(LocalStorage, "write", full)
    with pytest.raises(StorageError, match="disk full; the samples are stored"):
        study(EffectivenessStudy(settings=settings))
    monkeypatch.setattr(LocalStorage, "write", write)
    evaluated.clear()
    study(EffectivenessStudy(settings=settings))
    assert evaluated == []


def test_a_variation_whose_samples_all_fail_is_reported_and_the_others_are_kept(
    settings: StudySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_evaluator = series.make_series_evaluator

    def broken_with_mse(config: Any, *args: Any) -> Any:
        make = make_evaluator(config, *args)
        if config.loss != "mse":
            return make

        def failed(index: int) -> Sample:
            sample = make(index)
            assert isinstance(sample, Sample)
            nan = np.full_like(sample.grad, np.nan)
            return replace(sample, status="failed", trace_norm=np.nan, grad=nan, error="overflow")

        return failed

    monkeypatch.setattr(launch, "make_series_evaluator", broken_with_mse)
    job = AblationStudy(
        settings=settings,
        init_values=(),
        init_per_values=(),
        init_channels_values=(),
        num_cells_values=(),
        batch_size_values=(),
        batch_norm_values=(),
        sample_per_values=(),
        num_samples_values=(),
        nu_values=(),
        mu_values=(),
        normalize_values=(),
        rule_values=(),
    )
    found = {v["value"]: v for v in study(job)["result"]["variations"]}
    assert "overflow" in found["mse"]["failure"]
    assert found["mse"]["statistics"] is None
    assert found["cross-entropy"]["statistics"]["num"] == 2
    assert "failed: " in (Path(settings.out) / "ablation-s1.md").read_text()


def test_any_other_error_ends_an_ablation(
    settings: StudySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> dict[str, Any]:
        raise StorageError("disk full")

    monkeypatch.setattr(many, "run_search", full)
    with pytest.raises(StorageError, match="disk full"):
        study(AblationStudy(settings=settings))


def test_random_data_have_as_many_classes_as_the_data_set(
    settings: StudySettings, tmp_path: Path
) -> None:
    for label in range(2):
        (tmp_path / "two" / str(label)).mkdir(parents=True)
        for i in range(3):
            color = (40 * i, 90 * label, 7)
            Image.new("RGB", (8, 8), color).save(tmp_path / "two" / str(label) / f"{i}.png")
    samples = replace(settings.samples, data=str(tmp_path / "two"))
    two = replace(settings, samples=samples)
    with pytest.raises(ConfigError, match="add --num-classes 2"):
        study(Table2Study(settings=two))
    study(Table2Study(settings=replace(two, samples=replace(samples, num_classes=2))))


def test_without_a_data_set_random_data_are_searched(settings: StudySettings) -> None:
    bare = replace(settings, samples=TINY)
    assert study(EffectivenessStudy(settings=bare))["result"]["mode"] == "random-data"
    for job in (
        AgnosticStudy(settings=bare),
        Table2Study(settings=bare),
        EffectivenessStudy(settings=bare, mode="random-labels"),
    ):
        with pytest.raises(ConfigError, match="add --data"):
            study(job)


def test_hostile_settings_are_refused_before_anything_is_evaluated(
    settings: StudySettings, evaluated: list[int]
) -> None:
    def of(**changes: Any) -> StudySettings:
        return replace(settings, samples=replace(settings.samples, **changes))

    per_cell = of(sample_per="cell")
    wrong: list[tuple[Study, type[NasiRayError], str]] = [
        (EffectivenessStudy(settings=of(space="darts")), ConfigError, "no table of accuracies"),
        (AgnosticStudy(settings=of(space="darts")), ConfigError, "no table of accuracies"),
        (EffectivenessStudy(settings=of(space="s7")), UnknownNameError, "s7"),
        (Table2Study(settings=settings, spaces=("s1", "darts")), ConfigError, "no table"),
        (Table2Study(settings=settings, spaces=("s3",)), DataError, "there is no table"),
        (EffectivenessStudy(settings=replace(settings, metric="top1")), UnknownNameError, "'top1'"),
        (EffectivenessStudy(settings=replace(settings, table="")), ConfigError, "--table"),
        (EffectivenessStudy(settings=settings, step=0), ConfigError, "step is 0"),
        (TradeoffStudy(settings=settings, nus=("q200",)), ConfigError, "q200"),
        (TradeoffStudy(settings=settings, mus=(-1.0,)), ConfigError, "mu is -1.0"),
        (TradeoffStudy(settings=settings, nus=()), ConfigError, "the grid is empty"),
        (TradeoffStudy(settings=per_cell), ConfigError, "--sample-per step"),
        (AblationStudy(settings=settings, nu_values=("much",)), ConfigError, "much"),
        (AblationStudy(settings=settings, num_cells_values=(0,)), ConfigError, "num_cells is 0"),
        (AblationStudy(settings=settings, batch_size_values=(1,)), ConfigError, "batch_size"),
    ]
    for job, error, message in wrong:
        with pytest.raises(error, match=message) as caught:
            study(job)
        assert "\n" not in str(caught.value)
    assert evaluated == []


@pytest.mark.parametrize(
    ("seeds", "message"), [((), "no seed"), ((1, 1), "twice"), ((-1,), "seed is -1")]
)
def test_seeds_that_are_none_are_refused(seeds: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StudySettings(seeds=seeds)


def test_the_command_line_gives_settings_and_presets() -> None:
    found = parse_study(
        ["tradeoff", "--space", "s2", "--seeds", "3", "4", "--nus", "q5", "10", "--mu", "2"]
    )
    assert isinstance(found, TradeoffStudy)
    assert (found.settings.samples.space, found.settings.seeds) == ("s2", (3, 4))
    assert (found.nus, found.settings.estimate.mu) == (("q5", 10.0), 2.0)
    assert (found.settings.estimate.method, found.settings.estimate.nu) == ("fix", "sweep")
    assert (found.settings.samples.num_cells, found.settings.samples.image_size) == (3, 16)
    fix = parse_study(["effectiveness", "--preset", "nasi-fix", "--num-samples", "7"])
    assert (fix.settings.estimate.method, fix.settings.estimate.num_samples) == ("fix", 7)
    assert (fix.settings.samples.num_cells, fix.settings.samples.image_size) == ("auto", 32)
    for argv in ([], ["figure9"], ["agnostic", "--seed", "3"], ["agnostic", "--labels", "true"]):
        with pytest.raises(SystemExit):
            parse_study(argv)
    with pytest.raises(ConfigError, match="no seed"):
        parse_study(["agnostic", "--seeds"])


def test_augmentation_is_of_images_alone() -> None:
    samples = replace(TINY, data="CIFAR10", augment="crop-flip")
    assert samples_of_mode(samples, "true").augment == "crop-flip"
    assert samples_of_mode(samples, "random-data").augment == "none"
    assert samples_of_mode(samples, "random-labels").labels == "random"
