"""Jobs on a storage that confirms what it does not keep."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nasi_ray import read_scores
from nasi_ray.records import read_run
from nasi_ray.storage import LocalStorage
from tests.jobs import command

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

SMALL = ("--batch-size", "4", "--image-size", "8", "--num-workers", "0")
JOBS = {
    "search.py": (*SMALL, "--init-channels", "2", "--num-cells", "3", "--num-samples", "4",
                  "--space", "nb201", "--preset", "nasi-fix"),
    "rank.py": (
        *SMALL, "--num-channels", "2", "--architectures", "2", "--proxies", "synflow", "trace_norm",
    ),
}  # fmt: skip


def numbers(job: str, out: Path) -> bytes:
    """All numbers that the records hold."""
    if job == "search.py":
        return read_run(str(out))[0].grad.tobytes()
    found = read_scores(str(out)).by_proxy
    return b"".join(found[name].scores.tobytes() for name in sorted(found))


def not_stored(storage: LocalStorage, name: str, store: Callable[[], bool]) -> bool:
    """An answer of success, as of a gateway that has stored nothing."""
    return True


def deleted(storage: LocalStorage, name: str, store: Callable[[], bool]) -> bool:
    """Stored, and then taken away by somebody."""
    is_new = store()
    storage.delete(name)
    return is_new


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Job -> the numbers of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    for job, options in JOBS.items():
        assert command.call(job, *options, "--out", out / job)[0] == 0
    return {job: numbers(job, out / job) for job in JOBS}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("fault", [not_stored, deleted])
@pytest.mark.parametrize("num_faults", [1, 2, 1000])
def test_what_the_storage_does_not_keep_is_evaluated_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, bytes],
    job: str,
    fault: Callable[..., bool],
    num_faults: int,
) -> None:
    create = LocalStorage.create
    left = [num_faults]

    def faulty(self: LocalStorage, name: str, data: bytes) -> bool:
        if not left[0] or "/part-" not in name:
            return create(self, name, data)
        left[0] -= 1
        return fault(self, name, lambda: create(self, name, data))

    monkeypatch.setattr(LocalStorage, "create", faulty)
    out = tmp_path / "out"
    code, _, err = command.call(job, *JOBS[job], "--out", out)
    told = [line for line in err.splitlines() if "were stored and are not there" in line]
    again = [line for line in told if line.endswith("evaluating them again")]
    if num_faults < 1000:
        assert (code, len(told), len(again)) == (0, num_faults, num_faults), err
        assert numbers(job, out) == expected[job]
        return
    assert (code, len(told), len(again)) == (75, 3, 2), err
    assert re.fullmatch(rf"error: \d+ \w+s were stored .*: {out} confirms .* another", told[-1])
    monkeypatch.undo()
    assert command.call(job, *JOBS[job], "--out", out)[0] == 0
    assert numbers(job, out) == expected[job]
