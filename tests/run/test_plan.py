"""A run is planned once; where it is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasi_ray.config import ComputeSettings, SampleConfig
from nasi_ray.errors import ConfigError, RecordConflictError
from nasi_ray.records import IdentityValue, RecordStore, SampleRows
from nasi_ray.run import plan as module
from nasi_ray.run.identity import DataSource, find_source
from nasi_ray.run.plan import RunPlan, plan_run, settle_uri
from nasi_ray.run.settings import flat_settings, with_settings
from nasi_ray.search.settings import SearchJob
from tests.toy import toy_sample

SETTINGS: dict[str, IdentityValue] = {"space": "darts", "seed": 0}


def plan(out: Path, **samples: Any) -> RunPlan:
    config = dataclasses.replace(SampleConfig(), **samples)
    compute = ComputeSettings(num_workers=0)
    return plan_run(str(out), samples=config, compute=compute, settings=SETTINGS)


def test_a_plan_does_not_change_and_has_everything_resolved(tmp_path: Path) -> None:
    found = plan(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.device = "cuda"  # type: ignore[misc]
    assert found.settings["labels"] == "random"
    assert found.stored is None
    assert found.stored_identity() is None
    fresh = found.fresh_identity({"data": "random"}, "cpu", "2.14.1+cpu")
    assert (fresh["device"], fresh["torch"], fresh["seed"]) == ("cpu", "2.14", 0)


def test_the_folder_of_the_data_is_walked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[str] = []

    def spy(data: str) -> DataSource:
        walks.append(data)
        return find_source(data)

    monkeypatch.setattr(module, "find_source", spy)
    found = plan(tmp_path / "run", data=str(tmp_path))
    found.stored_identity()
    found.refuse_other_settings(SampleRows(84))
    assert walks == [str(tmp_path)]


@pytest.mark.parametrize("where", ["train", "train/a", "train/a/x.png", "train/a/deep"])
def test_a_changed_image_behind_a_link_changes_the_stamp(tmp_path: Path, where: str) -> None:
    real = tmp_path / "real" / where
    image = real if real.suffix else real / "more" / "y.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"1")
    link = tmp_path / "ds" / where
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    before = find_source(str(tmp_path / "ds"))
    assert find_source(str(tmp_path / "ds")) == before
    image.write_bytes(b"22")
    assert find_source(str(tmp_path / "ds")) != before


def test_links_in_circles_are_walked_once(tmp_path: Path) -> None:
    folders = [tmp_path / f"d{i}" for i in range(12)]
    for folder in folders:
        folder.mkdir()
        (folder / "x.png").write_bytes(b"1")
    for folder in folders:
        for other in (*folders, tmp_path):
            (folder / f"to-{other.name}").symlink_to(other)
    before = find_source(str(tmp_path))  # 12! ways lead through these folders
    (folders[7] / "x.png").write_bytes(b"22")
    assert find_source(str(tmp_path)) != before


def test_a_folder_that_cannot_be_seen_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert find_source(str(tmp_path)).stamp
    assert find_source(str(tmp_path / "self")).stamp
    assert find_source("a\0b").stamp


def test_records_settle_the_device_and_refuse_other_settings(tmp_path: Path) -> None:
    first = plan(tmp_path)
    identity = first.fresh_identity({"data": "random"}, "cpu", "2.14")
    store = RecordStore.open(first.storage, identity=identity, rows=SampleRows(84))
    store.append([toy_sample(0)])
    again = plan(tmp_path)
    assert (again.device, again.compute.gpus_per_worker) == ("cpu", 0.0)
    again.refuse_other_settings(SampleRows(84))
    with pytest.raises(RecordConflictError, match=r'device="cpu"; asked for device="cuda"'):
        plan(tmp_path, device="cuda").refuse_other_settings(SampleRows(84))


@pytest.mark.parametrize("uri", ["/a/b", "~/x", "s3://bucket/x"])
def test_an_absolute_place_stays_as_it_is(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("NASI_RUNS", "/runs")
    assert settle_uri(uri) == uri


def test_a_relative_place_begins_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    monkeypatch.delenv("NASI_RUNS", raising=False)
    assert settle_uri("runs/x") == "runs/x"
    monkeypatch.setenv("NASI_RUNS", "s3://bucket/team/")
    assert settle_uri("runs/x") == "s3://bucket/team/runs/x"


def test_a_relative_place_is_refused_in_a_submitted_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.delenv("NASI_RUNS", raising=False)
    for uri in ("runs/x", "./x", "x"):
        with pytest.raises(ConfigError, match="Ray deletes that; give an absolute path"):
            settle_uri(uri)


def test_settings_take_paths_and_numpy_numbers(tmp_path: Path) -> None:
    given = {"out": tmp_path, "seed": np.int64(3), "mu": np.float64(1.5)}
    job = with_settings(SearchJob(), given, where="a test")
    flat = flat_settings(job)
    assert (flat["out"], flat["seed"], flat["mu"]) == (str(tmp_path), 3, 1.5)


def test_every_setting_has_a_name_of_its_own() -> None:
    job = SearchJob()
    parts: list[Any] = [job, job.samples, job.estimate, job.compute]
    names = [f.name for part in parts for f in dataclasses.fields(part)]
    assert len(set(names)) == len(names)


def test_the_files_of_a_named_set_are_stamped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASI_DATA_ROOT", str(tmp_path))
    missing = find_source("MNIST")
    assert missing.stamp == ""
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"1")
    there = find_source("MNIST")
    file.write_bytes(b"22")
    changed = find_source("MNIST")
    assert there.may_be(find_source("MNIST")) is False
    assert changed.may_be(find_source("MNIST"))
    # A run of an older release, and a machine without the files, are taken at their word.
    assert missing.may_be(there)
    assert there.may_be(missing)
    assert not missing.may_be(find_source("CIFAR10"))
