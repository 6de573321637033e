"""Jobs on a storage that confirms what it does not keep."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nasi_ray import read_scores
from nasi_ray.records.reader import read_records
from nasi_ray.storage import LocalStorage
from tests.jobs import command

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

SMALL = ("--batch-size", "4", "--image-size", "8", "--num-workers", "0")
SEARCH = (
    *SMALL, "--init-channels", "2", "--num-cells", "3", "--num-samples", "4", "--space", "nb201",
)  # fmt: skip
JOBS = {
    "search": ("search.py", *SEARCH, "--preset", "nasi-fix"),
    "measure": ("search.py", *SEARCH, "--measure", "naswot", "snip"),
    "sweep": ("sweep.py", *SEARCH, "--preset", "nasi-fix", "--seeds", "0", "1"),
    "study": ("study.py", "cells", *SEARCH, "--seeds", "0", "1"),
    "rank": (
        *("rank.py", *SMALL, "--num-channels", "2", "--architectures", "2"),
        *("--proxies", "synflow", "trace_norm"),
    ),
}
"""What keeps records, and where: a search's samples and measurements, those of a job's searches."""


def numbers(name: str, out: Path) -> dict[str, bytes]:
    """Series -> all numbers that its records hold."""
    if name == "rank":
        found = read_scores(str(out)).by_proxy
        return {proxy: scores.scores.tobytes() for proxy, scores in found.items()}
    runs = [out] if not (out / "runs").exists() else sorted((out / "runs").iterdir())
    held: dict[str, bytes] = {}
    for run in runs:
        records = read_records(str(run))
        at = run.relative_to(out)
        if records.samples is not None:
            held[f"{at}/samples"] = records.samples.grad.tobytes()
        for series, table in records.measurements.items():
            held[f"{at}/{series}"] = b"".join(c.tobytes() for c in table.values.values())
    return held


def not_stored(storage: LocalStorage, name: str, store: Callable[[], bool]) -> bool:
    """An answer of success, as of a gateway that has stored nothing."""
    return True


def deleted(storage: LocalStorage, name: str, store: Callable[[], bool]) -> bool:
    """Stored, and then taken away by somebody."""
    is_new = store()
    storage.delete(name)
    return is_new


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Name of a job -> the numbers of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    for name, given in JOBS.items():
        assert command.call(*given, "--out", out / name)[0] == 0
    held = {name: numbers(name, out / name) for name in JOBS}
    assert [len(found) for found in held.values()] == [1, 2, 2, 2, 4]
    return held


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("fault", [not_stored, deleted])
@pytest.mark.parametrize("num_faults", [1, 2, 1000])
def test_what_the_storage_does_not_keep_is_evaluated_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, dict[str, bytes]],
    name: str,
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
    code, _, err = command.call(*JOBS[name], "--out", out)
    told = [line for line in err.splitlines() if "were stored but are missing now" in line]
    again = [line for line in told if line.endswith("evaluating them again")]
    if num_faults < 1000:
        assert (code, len(told), len(again)) == (0, num_faults, num_faults), err
        assert numbers(name, out) == expected[name]
        return
    assert (code, len(told), len(again)) == (75, 3, 2), err
    assert re.fullmatch(
        rf"error: \d+ \w+s were stored .*: {out}\S* confirmed writes .* another", told[-1]
    ), told
    monkeypatch.undo()
    assert command.call(*JOBS[name], "--out", out)[0] == 0
    assert numbers(name, out) == expected[name]
