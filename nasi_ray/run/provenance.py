"""What a result was made with: versions of the programs, and the machine of the driver."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from nasi_ray.version import __version__

_PACKAGES = ("torch", "ray", "numpy", "pyarrow")


def versions() -> dict[str, str]:
    """Package -> version, for the packages that determine a result."""
    return {
        "python": platform.python_version(),
        # Not from the installation: a submitted job brings its own code, which is not installed.
        "nasi_ray": __version__,
        **{name: version(name) for name in _PACKAGES},
    }


def machine() -> dict[str, str | int]:
    """The driver's machine: system, processor and number of CPUs."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _cpu_model() or platform.processor() or "not known",
        "num_cpus": os.cpu_count() or 1,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
