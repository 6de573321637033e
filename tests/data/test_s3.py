"""Data sets below an S3 prefix: the same as in a folder, nothing read that is not needed."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.load import load_images
from nasi_ray.data.open import open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import ConfigError, DataError, StorageError, StorageRefusedError
from nasi_ray.run.identity import find_source, source_name
from nasi_ray.storage import s3_files
from nasi_ray.storage.s3_objects import S3Objects
from tests.contracts.s3_server import BUCKET, answer_with, quick_client
from tests.data.encoded import png, write_parquet

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("s3", "fresh_client")]


@pytest.fixture
def fresh_client() -> Iterator[None]:
    s3_files._objects.cache_clear()
    yield
    s3_files._objects.cache_clear()


def upload(folder: Path, prefix: str) -> str:
    """Put the files of a folder below a prefix; the URI."""
    client = boto3.client("s3")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder)}"
            client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


def make_folder(root: Path, split: str = "train") -> Path:
    for seed, name in enumerate(["a/0", "a/1", "b/0", "b/deep/1", "c/0"]):
        path = root / split / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed, 8, 9))
    return root


def make_parquet(root: Path) -> Path:
    images = [png(seed, 8, 9) for seed in range(6)]
    write_parquet(root / "data" / "train-00000-of-00002.parquet", images[:4], [0, 1, 0, 1])
    write_parquet(root / "data" / "train-00001-of-00002.parquet", images[4:], [1, 0])
    write_parquet(root / "data" / "test-00000-of-00001.parquet", images[:2], [1, 0])
    return root


def assert_equal(there: LazyImages, here: LazyImages) -> None:
    assert (there.digest, there.summary) == (here.digest, here.summary)
    assert there.class_names == here.class_names
    np.testing.assert_array_equal(there.labels, here.labels)
    sent = pickle.loads(pickle.dumps(there))
    for index in range(len(here)):
        np.testing.assert_array_equal(sent.read(index), here.read(index))


@pytest.mark.parametrize("make", [make_folder, make_parquet])
def test_the_images_are_those_of_a_local_copy(tmp_path: Path, prefix: str, make: Any) -> None:
    (make(tmp_path) / "README.md").write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "x.png").write_bytes(b"x")
    uri = upload(tmp_path, prefix)
    assert_equal(open_images(uri), open_images(str(tmp_path)))
    whole = load_images(f"{uri}/", image_size=8)
    local = load_images(str(tmp_path), image_size=8)
    assert (whole.digest, whole.summary) == (local.digest, local.summary)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_is_found_by_name(tmp_path: Path, prefix: str, split: str) -> None:
    make_folder(make_folder(tmp_path / "folder"), "test")
    make_parquet(tmp_path / "parquet")
    uri = upload(tmp_path, prefix)
    for name in ("folder", "parquet"):
        options = ReadOptions(split=split)
        assert_equal(
            open_images(f"{uri}/{name}", options), open_images(f"{tmp_path}/{name}", options)
        )
        with pytest.raises(DataError, match=r"^s3://.*: no split 'val'; it has "):
            open_images(f"{uri}/{name}", ReadOptions(split="val"))


def test_one_file_and_a_sibling_that_begins_with_its_name(tmp_path: Path, prefix: str) -> None:
    write_parquet(tmp_path / "a.parquet", [png(0), png(1)], [0, 1])
    write_parquet(tmp_path / "a.parquet.old" / "x.parquet", [png(2)], [1])
    uri = upload(tmp_path, prefix)
    found = open_images(f"{uri}/a.parquet")
    assert len(found) == 2
    assert found.summary.startswith("1 file; ")


def test_what_is_not_there_is_one_line(prefix: str) -> None:
    with pytest.raises(
        DataError, match=rf"^there is no object at or below s3://{BUCKET}/{prefix}/x;"
    ):
        open_images(f"s3://{BUCKET}/{prefix}/x")
    with pytest.raises(
        StorageRefusedError, match=r"^cannot list s3://no-such-bucket.*NoSuchBucket"
    ):
        open_images("s3://no-such-bucket/x")
    with pytest.raises(ConfigError, match=r"^invalid bucket 'B!'"):
        open_images("s3://B!/x")


def test_the_stamp_needs_no_content_and_sees_a_change(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(make_folder(tmp_path), prefix)
    client = quick_client(max_attempts=1)
    answer_with(client, "GetObject", 403, "AccessDenied", when=lambda: True)
    monkeypatch.setattr(s3_files, "make_client", lambda uri: client)
    first = find_source(uri)
    assert (first.source, source_name(uri)) == (uri, uri)
    assert find_source(uri) == first
    key = f"{prefix}/train/a/0.png"
    size = len((tmp_path / "train/a/0.png").read_bytes())
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(size))
    assert find_source(uri) != first
    images = open_images(uri)  # nor does this
    assert images.digest == open_images(str(tmp_path)).digest
    with pytest.raises(StorageError):
        images.read(0)


def test_an_object_that_has_changed_or_is_gone_is_named(tmp_path: Path, prefix: str) -> None:
    uri = upload(make_parquet(tmp_path), prefix)
    images = open_images(uri)
    client = boto3.client("s3")
    key = f"{prefix}/data/train-00001-of-00002.parquet"
    client.put_object(Bucket=BUCKET, Key=key, Body=b"another")
    images.read(0)
    with pytest.raises(
        DataError, match=rf"^s3://{BUCKET}/{key}: is gone, or has changed since the"
    ):
        images.read(4)
    folder = open_images(upload(make_folder(tmp_path / "f"), f"{prefix}/f"))
    client.delete_object(Bucket=BUCKET, Key=f"{prefix}/f/train/b/0.png")
    with pytest.raises(DataError, match=r"/train/b/0.png: is gone since the data were listed"):
        folder.read(2)


@pytest.mark.parametrize("make", [make_folder, make_parquet])
@pytest.mark.parametrize(("status", "code", "kind"), [
    (503, "SlowDown", StorageError),
    (403, "AccessDenied", StorageRefusedError),
])  # fmt: skip
def test_a_service_that_fails_is_one_line(
    tmp_path: Path,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    make: Any,
    status: int,
    code: str,
    kind: type[StorageError],
) -> None:
    images = open_images(upload(make(tmp_path), prefix))
    client = quick_client(max_attempts=1)
    answer_with(client, "GetObject", status, code, when=lambda: True)
    monkeypatch.setattr(s3_files, "make_client", lambda uri: client)
    s3_files._objects.cache_clear()
    with pytest.raises(
        StorageError, match=rf"^cannot read s3://{BUCKET}/{prefix}/.*{code}"
    ) as found:
        images.read(0)
    assert type(found.value) is kind
    skipping = (
        open_images(images.source, ReadOptions(skip_broken=True)) if make is make_folder else images
    )
    with pytest.raises(StorageError):  # no image is broken
        skipping.read(1)


def test_an_object_beyond_the_limit_is_not_read(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(upload(make_folder(tmp_path), prefix))
    monkeypatch.setattr("nasi_ray.data.folder.MAX_ENCODED_BYTES", 10)
    with pytest.raises(DataError, match=r"/a/0.png: has [0-9]+ bytes; at most 10 are allowed$"):
        images.read(0)


@pytest.mark.parametrize("make", [make_folder, make_parquet])
def test_a_forked_process_has_its_own_connection(tmp_path: Path, prefix: str, make: Any) -> None:
    images = open_images(upload(make(tmp_path), prefix))
    here = [images.read(index) for index in range(len(images))]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        there = pool.map(images.read, range(len(images)))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_are_read_without_the_images(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = [np.random.default_rng(seed).bytes(1 << 20) for seed in range(8)]
    write_parquet(tmp_path / "a.parquet", noise, [0, 1] * 4)
    uri = upload(tmp_path, prefix)
    sizes: list[int] = []
    get_part = S3Objects.get_part

    def spy(self: S3Objects, key: str, start: int, size: int, etag: str) -> bytes:
        sizes.append(size)
        return get_part(self, key, start, size, etag)

    monkeypatch.setattr(S3Objects, "get_part", spy)
    images = open_images(f"{uri}/a.parquet")
    assert sum(sizes) < 1 << 20
    with pytest.raises(DataError, match="not an image"):
        images.read(0)
    assert sum(sizes) > 8 << 20  # the row group
    assert len(sizes) < 20
