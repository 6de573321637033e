"""Settings of every test, and where real data is."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import hypothesis
import pytest
import torch

from nasi_ray.spaces import SPACES

# The first call of a torch operation breaks any deadline; a failure must be the same everywhere.
hypothesis.settings.register_profile("nasi_ray", deadline=None, derandomize=True)
hypothesis.settings.load_profile("nasi_ray")
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the integration tests of a module, which share a Ray or a server, in one process."""
    for item in items:
        if item.get_closest_marker("integration") and isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


@pytest.fixture(autouse=True)
def _own_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space that a test adds, as a list of cells is one, ends with it."""
    monkeypatch.setattr(SPACES, "_added", SPACES.added())


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The directory of the real data sets and tables; skips where there is none."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("NASI_DATA") or default)
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set NASI_DATA to the directory of the real data")
    return path


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    """A server of S3 for the tests of a module."""
    from tests.contracts.s3_server import s3_server

    with s3_server():
        yield


@pytest.fixture(scope="module")
def collected() -> Iterator[None]:
    """What the tests of a module leave unclosed goes while their filters of warnings hold."""
    yield
    gc.collect()


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster on this machine, whose head has no CPUs; the test adds nodes."""
    from tests.contracts.cluster import empty_cluster

    with empty_cluster() as made:
        yield made


@pytest.fixture
def prefix(s3: None) -> str:
    """A prefix of the server's bucket for one test."""
    from tests.contracts.s3_server import new_prefix

    return new_prefix()


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices of the samples in the order in which this process evaluated them."""
    from nasi_ray.nasi.evaluator import Evaluator
    from nasi_ray.nasi.measurements import PathEvaluator

    indices: list[int] = []
    for kind in (Evaluator, PathEvaluator):
        call = kind.__call__

        def spy(self: Any, index: int, call: Any = call) -> Any:
            indices.append(index)
            return call(self, index)

        monkeypatch.setattr(kind, "__call__", spy)
    return indices


@pytest.fixture(scope="module")
def blank_pictures() -> Iterator[None]:
    """Figures are laid out but not rendered, which takes half of a small search's time."""
    from matplotlib.figure import Figure

    heads = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml"}

    def save(self: Figure, file: BinaryIO, *, format: str, **kwargs: Any) -> None:
        file.write(heads[format])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        # Looking for what to render makes every tick.
        patch.setattr(Figure, "findobj", lambda self: [])
        yield
