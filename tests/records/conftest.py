"""A run directory of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasi_ray.storage import LocalStorage, Storage
from nasi_ray.storage.s3 import S3Storage
from tests.contracts.records import KINDS, Kind
from tests.contracts.s3_server import BUCKET, new_prefix


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.integration)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "run")
    request.getfixturevalue("s3")
    return S3Storage(BUCKET, new_prefix())


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "run")


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]
