from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nasi_ray
from nasi_ray.errors import RecordConflictError
from nasi_ray.records import RecordStore, SampleRows
from nasi_ray.storage import LocalStorage
from tests.toy import toy_sample


def test_importing_the_package_imports_neither_torch_nor_ray() -> None:
    code = "import sys, nasi_ray; print([m for m in ('torch', 'ray', 'boto3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == "[]"


def test_a_run_is_replayed_from_python(tmp_path: Path) -> None:
    store = RecordStore.open(
        LocalStorage(str(tmp_path)), identity={"space": "darts"}, rows=SampleRows(84)
    )
    store.append([toy_sample(i) for i in range(12)])
    table, space = nasi_ray.read_run(str(tmp_path))
    assert (len(table), space) == (12, "darts")
    config = nasi_ray.EstimateConfig(num_samples=12, nu=20.0)
    result = nasi_ray.estimate(table, config)
    assert np.linalg.norm(result.alpha) > 0
    darts = nasi_ray.get_space(space)
    assert isinstance(darts.select(darts.split(result.alpha)), nasi_ray.Genotype)


def test_reading_a_run_that_is_not_there_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecordConflictError, match="holds no run"):
        nasi_ray.read_run(str(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
