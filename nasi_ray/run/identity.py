"""What a run's samples are made of, and what tells that the data are the ones they were made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nasi_ray.config import SampleConfig, WorkerConfig
from nasi_ray.data import CIFAR_NAMES, ImageSet, data_identity, resolve_labels
from nasi_ray.networks.supernets import resolve_num_cells
from nasi_ray.records import IdentityValue
from nasi_ray.storage import Storage

SAMPLING_VERSION = 1
"""Raised when a sample of the same settings becomes another one."""

CONFIG_NAME = "config.json"


_LEFT_OUT_DEFAULTS = {"init_per": "search"}
"""Settings that came after records had been written -> what those records were made with. They are
left out where they have that value, so that older runs stay what they are."""


def sample_settings(samples: SampleConfig) -> dict[str, Any]:
    """The settings of samples, by which a run is told from others."""
    settings = dataclasses.asdict(samples)
    return {
        k: v
        for k, v in settings.items()
        if k not in _LEFT_OUT_DEFAULTS or _LEFT_OUT_DEFAULTS[k] != v
    }


def sample_identity(
    samples: SampleConfig, workers: WorkerConfig, known: Mapping[str, IdentityValue]
) -> dict[str, IdentityValue]:
    """All that determines a sample; two runs with equal identities have equal samples.

    Args:
        samples: What was asked for.
        workers: Of which the number of threads decides the bits.
        known: What the settings leave open: ``data``, ``device`` and ``torch``, and
            ``num_classes`` of a data set.
    """
    identity: dict[str, IdentityValue] = sample_settings(samples)
    identity["labels"] = resolve_labels(samples.labels, samples.data)
    identity["num_cells"] = resolve_num_cells(samples.space, samples.num_cells)
    identity["threads_per_worker"] = workers.threads_per_worker
    identity["sampling_version"] = SAMPLING_VERSION
    if samples.device != "auto":
        known = {**known, "device": samples.device}
    return identity | dict(known)


def found_out(images: ImageSet | None, device: str) -> dict[str, IdentityValue]:
    """The ``known`` of a run that is about to evaluate samples."""
    known: dict[str, IdentityValue] = {**data_identity(images), "device": device}
    if images is not None:
        known["num_classes"] = images.num_classes
    # Another torch has other kernels; its patch releases are taken to have the same.
    return {**known, "torch": ".".join(torch.__version__.split(".")[:2])}


def remembered(samples: SampleConfig, stored: Mapping[str, Any]) -> dict[str, IdentityValue]:
    """The ``known`` of a run whose records answer without anything being evaluated."""
    names = ["data", "device", "torch"]
    if samples.data != "random":
        names.append("num_classes")
    return {name: stored.get(name) for name in names}


def data_source(data: str) -> dict[str, str]:
    """Where the data are, and a stamp that differs when a file there does.

    Args:
        data: ``SampleConfig.data``.

    Returns:
        ``source``, an absolute path or a name, and ``stamp``, a digest of the names, sizes and
        times of its files; empty for a name.
    """
    if data == "random" or data in CIFAR_NAMES:
        return {"source": data, "stamp": ""}
    path = Path(os.path.abspath(os.path.expanduser(data)))
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        try:
            status = file.stat()
        except (OSError, ValueError):
            continue  # reading the data will tell what is wrong with it
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="replace"))
    return {"source": str(path), "stamp": digest.hexdigest()[:16]}


def read_source(storage: Storage) -> dict[str, Any]:
    """The ``data_source`` of the run's last evaluation; empty if it is not known."""
    try:
        config = json.loads(storage.read(CONFIG_NAME))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
