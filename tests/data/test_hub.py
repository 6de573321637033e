"""The cache of Hugging Face's hub: blobs, snapshots of links to them, and refs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasi_ray.data.hub import cache_folder
from nasi_ray.data.load import load_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError
from nasi_ray.run.identity import find_source, source_name
from tests.data.encoded import png, write_parquet


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def add_snapshot(hub: Path, revision: str, *, is_main: bool = True, seed: int = 0) -> Path:
    """A revision of owner/name, as ``hf download`` writes it."""
    folder = hub / "datasets--owner--name"
    for number, split in enumerate(("train", "test")):
        images = [png(seed + 10 * number + i) for i in range(2)]
        blob = write_parquet(folder / "blobs" / f"{revision}{number}", images, [0, 1])
        link = folder / "snapshots" / revision / "plain_text" / f"{split}-00000-of-00001.parquet"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path("../../../blobs") / blob.name)
    if is_main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(revision)
    return folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_data_set_is_found_by_name_and_by_path(hub: Path, split: str) -> None:
    folder = add_snapshot(hub, "aaa111")
    options = ReadOptions(split=split)
    named = load_images("hf:owner/name", options, image_size=8)
    snapshot = str(folder / "snapshots" / "aaa111")
    digests = {load_images(s, options, image_size=8).digest for s in (str(folder), snapshot)}
    assert digests == {named.digest}
    assert named.summary.startswith(f"split {split}; 1 file; ")


def test_the_revision_is_that_of_main(hub: Path) -> None:
    add_snapshot(hub, "aaa111", seed=0)
    add_snapshot(hub, "bbb222", seed=50)
    before = find_source("hf:owner/name")
    newer = load_images("hf:owner/name", image_size=8)
    folder = add_snapshot(hub, "ccc333", is_main=False, seed=80)
    assert load_images("hf:owner/name", image_size=8).digest == newer.digest
    assert find_source("hf:owner/name") != before
    (folder / "refs" / "main").write_text("../../elsewhere")
    with pytest.raises(DataError, match="3 snapshots and refs/main names none of them; name the p"):
        load_images("hf:owner/name", image_size=8)


def test_one_snapshot_needs_no_main(hub: Path) -> None:
    add_snapshot(hub, "aaa111", is_main=False)
    assert len(load_images("hf:owner/name", image_size=8)) == 2


def test_what_is_not_in_the_cache_says_how_to_fetch_it(hub: Path) -> None:
    told = (
        r"'hf:a/b' is not in the cache \(looked for .*/datasets--a--b\); .*download .* dataset a/b$"
    )
    with pytest.raises(DataError, match=told):
        load_images("hf:a/b", image_size=8)


@pytest.mark.parametrize("name", ["hf:../x", "hf:a/../b", "hf:", "hf:a/b/c", "hf:/etc", "a/b"])
def test_other_names_are_no_data_sets_of_the_hub(name: str) -> None:
    assert cache_folder(name) == name


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder("hf:x") == "/home/me/.cache/huggingface/hub/datasets--x"
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert source_name("hf:o/x") == "/home/me/hf/hub/datasets--o--x"
