"""What the benchmarks share: child processes, medians, the closing table and JSON line."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def peak_mib() -> float:
    """Largest resident set of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_child(script: str, *args: str) -> dict[str, Any]:
    """Run ``python script args`` on one thread and return the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, script, *args],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(title: str, rows: Sequence[tuple[str, str]], figures: Mapping[str, Any]) -> None:
    """Print the table, what it ran on, and the JSON line."""
    print(title)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
    machine = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpus": os.cpu_count(),
        "platform": platform.machine(),
    }
    print(json.dumps({**figures, "machine": machine}))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with minimum and maximum, for a table."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f}  ({low:.{digits}f} to {high:.{digits}f})"


def cifar10_dir() -> Path:
    """Real CIFAR-10 in Parquet, found through NASI_DATA or beside the project."""
    root = Path(os.environ.get("NASI_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = root / "cifar10"
    if not path.is_dir():
        sys.exit(f"{path} is not there; set NASI_DATA to a directory that has cifar10/")
    return path
