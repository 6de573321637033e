"""Named pipes, devices, sockets and folders in place of every file that is read: one line, at once.

A reader that opens a pipe waits for ever, and one that reads a device fills the memory.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import nasi_ray
from nasi_ray.cluster.documents import read_text as read_document
from nasi_ray.cluster.job_api import read_token
from nasi_ray.data.load import load_images
from nasi_ray.errors import NasiRayError
from nasi_ray.files import open_regular, read_bytes, read_text, user_path
from nasi_ray.pool.cost import load_prices
from nasi_ray.ranking.architectures import select_architectures
from nasi_ray.run.listed import read_list
from nasi_ray.run.settings import read_settings
from nasi_ray.run.subject import read_subject
from nasi_ray.tables.accuracies import open_accuracies
from nasi_ray.tables.nasbench101 import convert_nasbench101
from nasi_ray.tables.natsbench import convert_natsbench
from nasi_ray.tables.tabular import TabularBenchmark
from tests.data.encoded import png, write_parquet

pytestmark = pytest.mark.timeout(60)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # a socket's whole path may have about 100 characters
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def a_folder(path: Path) -> None:
    path.mkdir()


KINDS = [a_pipe, a_device, a_socket, a_folder]


@pytest.fixture(params=KINDS, ids=lambda make: make.__name__)
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a special file of a name, in a folder of its own."""

    def make(name: str) -> Path:
        path = tmp_path / "special" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        request.param(path)
        return path

    return make


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "Parquet file": ("a.parquet", lambda path: load_images(str(path), image_size=8)),
    "table": ("t.parquet", TabularBenchmark.open),
    "table of a space": ("t.parquet", lambda path: open_accuracies("nb201", str(path))),
    "list of architectures": ("cells.txt", lambda path: select_architectures("nb201", str(path))),
    "list of DARTS cells": ("cells.txt", lambda path: read_list(str(path))),
    "cell": ("cell.txt", lambda path: read_subject(str(path), "darts", None)),
    "list of prices": ("prices.json", lambda path: load_prices(str(path))),
    "settings": ("settings.yaml", lambda path: read_settings(str(path), "search")),
    "document of the cluster": ("ray.yaml", read_document),
    "token": ("token", lambda path: read_token({"RAY_AUTH_TOKEN_PATH": str(path)})),
    "NAS-Bench-101": ("nb.tfrecord", lambda p: convert_nasbench101(p, p.with_name("t.parquet"))),
    "NATS-Bench": ("n.pbz2", lambda path: convert_natsbench(path, path.with_name("t.parquet"))),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_special_file_is_refused_at_once(reader: str, special: Callable[[str], Path]) -> None:
    name, read = READERS[reader]
    path = special(name)
    with pytest.raises(NasiRayError) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["a/x.png", "a/deep/x.png", "b/x.png"])
def test_a_special_file_among_images_is_named(special: Callable[[str], Path], where: str) -> None:
    root = special(where)
    while root.name != "special":
        root = root.parent
    for seed, name in enumerate(("a/good.png", "b/good.png")):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(png(seed))
    if (root / where).is_dir():
        assert len(load_images(str(root), image_size=8)) == 2
        return
    with pytest.raises(NasiRayError, match=r": cannot be read \(.* a file is needed: .*x\.png'\)$"):
        load_images(str(root), image_size=8)


@pytest.mark.parametrize("name", ["train-1.parquet", "train/0.parquet"])
def test_a_special_file_among_parquet_files_is_named(
    special: Callable[[str], Path], name: str
) -> None:
    path = special(name)
    root = path.parents[len(Path(name).parts) - 1]
    write_parquet(path.with_name("train-0.parquet"), [png(0), png(1)], [0, 1])
    if path.is_dir():
        assert len(load_images(str(root), image_size=8)) == 2
        return
    with pytest.raises(NasiRayError, match=r"not a readable Parquet file \(.* a file is needed"):
        load_images(str(root), image_size=8)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbftext")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"\xef\xbb\xbftext"
    assert read_text(tmp_path / "link", 7) == "text"
    with pytest.raises(OSError, match="it has more than 6 bytes"):
        read_bytes(tmp_path / "link", 6)


@pytest.mark.parametrize("text", ["~nouser-at-all/x", "~"])
def test_a_home_that_nobody_has_is_no_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_path(text) == Path("/somewhere" if text == "~" else text)


@pytest.mark.parametrize("reader", READERS)
def test_the_home_of_nobody_is_a_file_that_is_not_there(reader: str) -> None:
    name, read = READERS[reader]
    with pytest.raises(NasiRayError) as caught:
        read(Path("~nouser-at-all") / name)
    assert "\n" not in str(caught.value)


READS = re.compile(
    r"\.read_text\(|\.read_bytes\(|pq\.read_|pq\.ParquetFile\(|\)\.expanduser\(|np\.load"
    r"|np\.fromfile|(?<!def )(?<![.\w])open\("
)
OWN_FILES = {
    "parquet_file.py": "on an open file",
    "records/parts.py": "on bytes",
    "data/decode.py": "/proc",
    "run/provenance.py": "/proc",
    "cluster/allow_list.py": "the package's own list",
    "cluster/job_api.py": "the package's own template",
    "cluster/render.py": "a folder",
    "export/source.py": "the package's own modules",
    "pages/made.py": "on bytes",
    "pages/trainings.py": "on bytes",
    "training/metrics.py": "on bytes",
    "training/memory.py": "/proc",
}


def test_nothing_else_opens_files_that_a_user_names() -> None:
    package = Path(nasi_ray.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if READS.search(path.read_text())
    }
    assert found == OWN_FILES.keys()
