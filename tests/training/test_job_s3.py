"""A training whose run directory is on S3: the same as on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasi_ray.errors import SearchStoppedError
from nasi_ray.storage import open_storage
from nasi_ray.training.job import run_train
from nasi_ray.training.metrics import DETERMINED, read_metrics
from nasi_ray.training.settings import make_train_job
from tests.contracts.s3_server import BUCKET
from tests.toy import Quiet
from tests.training.test_job import EVERYTHING, Stopper
from tests.training.trainings import TINY, figures, train

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("s3")]


def test_a_training_on_s3_is_stopped_and_goes_on_as_on_disk(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{BUCKET}/{prefix}"
    job = make_train_job({**TINY, **EVERYTHING, "out": uri})
    with monkeypatch.context() as patch:
        stopper = Stopper(patch, 3)
        with pytest.raises(SearchStoppedError, match="run the same command again"):
            run_train(job, stopper)
    result = run_train(job, Quiet())
    train(tmp_path, **EVERYTHING)
    storage = open_storage(uri)
    rows = [tuple(row[name] for name in DETERMINED) for row in read_metrics(storage)]
    assert rows == figures(tmp_path)
    assert storage.read("model.safetensors") == (tmp_path / "model.safetensors").read_bytes()
    assert result.uri == uri
    assert run_train(job, Quiet()).to_dict() == result.to_dict()
