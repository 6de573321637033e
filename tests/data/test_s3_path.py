"""S3Path: a listed prefix is seen as a folder of the same files is. No server."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.data import s3_path
from nasi_ray.data.left_out import walk
from nasi_ray.data.open import open_images
from nasi_ray.data.s3_path import S3Path, list_s3, objects_below, reference, size_of
from nasi_ray.errors import DataError
from nasi_ray.run.identity import find_source
from nasi_ray.storage import s3_files
from nasi_ray.storage.s3_files import S3Object
from tests.data.encoded import png, write_parquet

NAMES = st.sampled_from(["a", "b", "train", "x.png", "y.PNG", ".git", "__MACOSX", "Thumbs.db"])
FILES = st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8)


class Bucket:
    """Objects in memory, as ``s3_files`` asks for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.num_lists = 0
        monkeypatch.setattr(s3_files, "list_objects", self.list_objects)
        monkeypatch.setattr(s3_files, "read_object", self.read_object)
        monkeypatch.setattr(s3_files, "_objects", lambda bucket, process: self)

    def list_objects(self, bucket: str, prefix: str) -> list[S3Object]:
        self.num_lists += 1
        return [
            S3Object(bucket, key, len(data), str(hash(data)))
            for key, data in reversed(self.contents.items())
            if key.startswith(prefix)
        ]

    def read_object(self, bucket: str, key: str, limit: int) -> bytes:
        return self.contents[key]

    def get_part(self, key: str, start: int, size: int, etag: str) -> bytes:
        return self.contents[key][start : start + size]


def are_files(names: set[str]) -> bool:
    """Whether no name is also a folder."""
    return not any(other.startswith(f"{name}/") for name in names for other in names)


@given(files=FILES.filter(are_files))
def test_a_prefix_is_seen_as_a_folder(
    tmp_path_factory: pytest.TempPathFactory, files: set[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    with pytest.MonkeyPatch.context() as patch:
        Bucket(patch, {f"p/{name}": name.encode() for name in files} | {"p2/z": b"", "p//q": b""})
        there = list_s3("s3://bucket/p/")

    def relative(paths: Any, top: Any) -> list[str]:
        return sorted(str(path.relative_to(top)) for path in paths)

    for pattern in ("*", "*/*"):
        assert relative(there.glob(pattern), there) == relative(root.glob(pattern), root)
    for one, other in zip(sorted(there.iterdir()), sorted(root.iterdir()), strict=True):
        assert (one.name, one.stem, one.suffix) == (other.name, other.stem, other.suffix)
        assert (one.is_dir(), one.is_file()) == (other.is_dir(), other.is_file())
        assert one.is_dir() or size_of(one) == size_of(other)
        assert one.parent == there
    found, local = walk(there), walk(root)
    assert [str(p.relative_to(there)) for p in found[0]] == [
        str(p.relative_to(root)) for p in local[0]
    ]
    assert sorted(found[1]) == sorted(local[1])
    keys = [item.key for item in objects_below(there)]
    assert keys == sorted(f"p/{name}" for name in files)


def test_the_whole_bucket_and_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Bucket(monkeypatch, {"a/x.png": b"1", "y.png": b"22"})
    top = list_s3("s3://bucket")
    assert (str(top), top.name) == ("s3://bucket/", "bucket")
    assert sorted(map(str, top.iterdir())) == ["s3://bucket/a", "s3://bucket/y.png"]
    assert not (top / "z").exists()
    assert size_of(top / "z") == -1
    with pytest.raises(DataError, match=r"^s3://bucket/z: no such object"):
        reference(top / "z")
    assert len({top / "a", top / "a", top / "y.png"}) == 2


def test_an_object_is_read_in_parts() -> None:
    content = bytes(range(256)) * 50
    with pytest.MonkeyPatch.context() as patch:
        Bucket(patch, {"k": content})
        here, there = io.BytesIO(content), S3Object("bucket", "k", len(content), "e").open(100)
        rng = np.random.default_rng(0)
        for _ in range(300):
            whence = int(rng.integers(3))
            offset = int(rng.integers(len(content)))
            offset = -offset if whence == io.SEEK_END else offset // (1 + 9 * whence)
            assert there.seek(offset, whence) == here.seek(offset, whence)
            size = int(rng.integers(400))
            assert there.read(size) == here.read(size)
            assert there.tell() == here.tell()


def test_data_are_found_and_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = [png(seed) for seed in range(4)]
    path = write_parquet(tmp_path / "train.parquet", encoded, [0, 1, 1, 0])
    contents = {"set/data/train.parquet": path.read_bytes(), "set/README.md": b"x"}
    contents |= {f"folder/{'ab'[i % 2]}/{i}.png": image for i, image in enumerate(encoded)}
    bucket = Bucket(monkeypatch, contents)
    before = find_source("s3://b-b/set")
    images = open_images("s3://b-b/set")
    assert bucket.num_lists == 1
    assert images.summary.startswith("split train; 1 file; left out: 1 .md; ")
    np.testing.assert_array_equal(images.read(2), open_images(str(path)).read(2))
    folder = open_images("s3://b-b/folder")
    assert bucket.num_lists == 2
    np.testing.assert_array_equal(folder.read(1), images.read(2))
    bucket.contents["set/README.md"] = b"y"
    assert find_source("s3://b-b/set") != before
    s3_path._listed.clear()
    with pytest.raises(DataError, match=r"^there is no object at or below s3://b-b/other; check"):
        open_images("s3://b-b/other")


def test_paths_sort_as_local_ones() -> None:
    names = ["a/b", "a-c", "a", "b/a", "B"]
    there = [S3Path("bucket", PurePosixPath(name), None, None) for name in names]
    assert [
        str(p.relative_to(S3Path("bucket", PurePosixPath(), None, None))) for p in sorted(there)
    ] == [str(p) for p in sorted(map(Path, names))]
