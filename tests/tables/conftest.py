"""What tests of the tables share: official files in small, and where tables of real data are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.official_files import encode_metrics, evaluation, frame, slow_crc32c, trial


class OfficialFormat:
    """What tests need to write a file."""

    frame = staticmethod(frame)
    slow_crc32c = staticmethod(slow_crc32c)
    encode_metrics = staticmethod(encode_metrics)
    evaluation = staticmethod(evaluation)
    trial = staticmethod(trial)


@pytest.fixture
def official() -> OfficialFormat:
    return OfficialFormat()


@pytest.fixture
def data_file() -> Callable[[str], Path]:
    """Path of a table of real data; skips the test where it is not."""

    def find(name: str) -> Path:
        default = Path(__file__).parents[2].parent / "shared" / "data"
        path = Path(os.environ.get("NASI_DATA", default)) / name
        if not path.exists():
            pytest.skip(f"{path} is not there; set NASI_DATA to the folder of the tables")
        return path

    return find
