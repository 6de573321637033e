"""Searches on data sets that are too large to decode: only what is drawn is decoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.data import decode as decoding
from nasi_ray.data import fitted
from nasi_ray.data.batches import make_batches
from nasi_ray.errors import DataError, NasiRayError, RecordConflictError
from nasi_ray.records import read_identity, read_run
from nasi_ray.run import compute
from nasi_ray.search import job as search_job
from nasi_ray.search.job import run_search
from nasi_ray.search.settings import SearchJob
from nasi_ray.storage import LocalStorage, s3_files
from tests.contracts.s3_server import BUCKET
from tests.data.encoded import png
from tests.toy import Quiet

pytestmark = pytest.mark.integration
TINY = SampleConfig(batch_size=4, image_size=8, init_channels=2, num_cells=3)


@pytest.fixture(autouse=True)
def nothing_is_kept() -> None:
    compute._open.cache_clear()
    compute._fit.cache_clear()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every data set counts as large."""
    monkeypatch.setattr(fitted, "MAX_WHOLE_IMAGES", 1)
    monkeypatch.setattr(fitted, "NUM_FOR_STATISTICS", 3)


def make_folder(root: Path, per_class: int = 20) -> Path:
    for label, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            image = png(label * per_class + number, 8, 9)
            (root / name / f"{number:02d}.png").write_bytes(image)
    return root


def job(out: Path | str, data: Path | str, num_samples: int = 3, **changes: Any) -> SearchJob:
    workers: Any = changes.pop("num_workers", 0)
    return SearchJob(
        samples=replace(TINY, data=str(data), **changes),
        estimate=EstimateConfig(num_samples=num_samples),
        compute=ComputeSettings(num_workers=workers),
        out=str(out),
    )


def gradients(out: Path) -> bytes:
    grads: bytes = read_run(str(out))[0].grad.tobytes()
    return grads


def identity(out: Path) -> dict[str, Any]:
    found = read_identity(LocalStorage(str(out)))
    assert found is not None
    return dict(found[0])


@pytest.mark.usefixtures("large")
def test_only_what_is_drawn_is_decoded_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_folder(tmp_path / "data")
    decoded: list[str] = []
    decode = decoding.decode

    def spy(content: bytes, image_size: int, where: str) -> Any:
        decoded.append(where)
        return decode(content, image_size, where)

    monkeypatch.setattr(fitted, "decode", spy)
    progress = Quiet()
    run_search(job(tmp_path / "run", data), progress)
    # Three for the mean, one to see that they can be read, and the batches; once more each time
    # that batches are made.
    assert len(decoded) <= 3 + 2 + 3 * 4
    assert any(
        text.startswith(f"40 images of {data} found, to be decoded when needed, in ")
        for text in progress.messages
    )
    found = identity(tmp_path / "run")
    assert found["data"].startswith("lazy sha256:")
    assert found["data"].endswith(" of 40 images, mean and std of 3")
    assert found["num_classes"] == 2
    decoded.clear()
    run_search(job(tmp_path / "run", data), Quiet())
    assert decoded == []  # answered
    run_search(job(tmp_path / "run", data, 5), Quiet())
    run_search(job(tmp_path / "whole", data, 5), Quiet())
    assert gradients(tmp_path / "run") == gradients(tmp_path / "whole")


def test_a_run_that_began_with_decoded_images_goes_on_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_folder(tmp_path / "data")
    run_search(job(tmp_path / "run", data), Quiet())
    before = identity(tmp_path / "run")
    monkeypatch.setattr(fitted, "MAX_WHOLE_IMAGES", 1)
    run_search(job(tmp_path / "run", data, 4), Quiet())
    assert identity(tmp_path / "run") == before
    assert before["data"].startswith("sha256:")


@pytest.mark.usefixtures("large")
def test_records_of_other_images_are_refused(tmp_path: Path) -> None:
    run_search(job(tmp_path / "run", make_folder(tmp_path / "a")), Quiet())
    other = make_folder(tmp_path / "b", per_class=21)
    with pytest.raises(RecordConflictError, match="data="):
        run_search(job(tmp_path / "run", other, 4), Quiet())


@pytest.mark.usefixtures("large")
def test_a_broken_image_ends_the_search_and_keeps_what_was_computed(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    run_search(job(tmp_path / "run", data), Quiet())
    for path in data.rglob("*.png"):
        if path.name not in ("00.png", "13.png", "06.png"):
            path.write_bytes(
                path.read_bytes()[: path.stat().st_size // 2].ljust(path.stat().st_size)
            )
    with pytest.raises(DataError, match=r"\.png: (image is broken|not an image)"):
        run_search(job(tmp_path / "run", data, 6), Quiet())
    assert len(read_run(str(tmp_path / "run"))[0]) == 3


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_decode_the_same_batches(tmp_path: Path, num_workers: int) -> None:
    data = make_folder(tmp_path / "data")
    run_search(job(tmp_path / "here", data, 12), Quiet())
    run_search(job(tmp_path / "ray", data, 12, num_workers=num_workers), Quiet())
    assert gradients(tmp_path / "ray") == gradients(tmp_path / "here")


@pytest.mark.parametrize("is_large", [False, True])
def test_a_search_of_images_on_s3_is_that_of_a_local_copy(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    import boto3

    monkeypatch.setattr(fitted, "MAX_WHOLE_IMAGES", 1 if is_large else 100)
    s3_files._objects.cache_clear()
    data = make_folder(tmp_path / "data")
    client = boto3.client("s3")
    for path in data.rglob("*.png"):
        key = f"{prefix}/data/{path.relative_to(data)}"
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    uri = f"s3://{BUCKET}/{prefix}/data"
    run_search(job(tmp_path / "there", uri), Quiet())
    run_search(job(tmp_path / "here", data), Quiet())
    assert identity(tmp_path / "there") == identity(tmp_path / "here")
    assert gradients(tmp_path / "there") == gradients(tmp_path / "here")
    if is_large:
        # Workers of a Ray that other tests have left do not know the server.
        ray.shutdown()
        run_search(job(tmp_path / "ray", uri, num_workers=2), Quiet())
        assert gradients(tmp_path / "ray") == gradients(tmp_path / "here")
    client.delete_object(Bucket=BUCKET, Key=f"{prefix}/data/a/00.png")
    with pytest.raises(RecordConflictError, match="data="):
        run_search(job(tmp_path / "there", uri, 4), Quiet())


@pytest.mark.usefixtures("large")
def test_data_that_workers_do_not_see_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_folder(tmp_path / "data")

    def make_and_hide(*args: Any) -> Any:
        batches = make_batches(*args)
        data.rename(tmp_path / "hidden")
        return batches

    monkeypatch.setattr(search_job, "make_batches", make_and_hide)
    with pytest.raises(NasiRayError, match=r"a/00.png: is not on this machine, or was deleted"):
        run_search(job(tmp_path / "run", data, 12, num_workers=1), Quiet())
