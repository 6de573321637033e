"""What determines the records of a run: settings, data, device and versions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasi_ray.data.hub import cache_folder
from nasi_ray.data.left_out import walk
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.s3_path import PREFIX, list_once, objects_below
from nasi_ray.data.sources import SOURCES
from nasi_ray.storage import Storage

SAMPLING_VERSION = 3
"""Increased when the same settings give different samples than before."""

MEASURED_SINCE = 2
"""The oldest version whose samples without a gradient are those of this one."""

SOURCE_NAME = "config.json"
"""File of a run that says where the data of its last evaluation were."""

_DATA_SET_DEFAULTS = dataclasses.asdict(ReadOptions())

_LEFT_OUT_DEFAULTS = {
    "init_per": "search",
    **dict.fromkeys(("max_params", "max_madds")),
    **_DATA_SET_DEFAULTS,
}
"""Settings that are newer than some records -> the value those records were made with. A setting
with that value is left out, so that older runs keep their identity."""


def sample_settings(samples: Any) -> dict[str, Any]:
    """The settings that distinguish the records of one run from those of others.

    Args:
        samples: ``SampleConfig``, or ``RankConfig`` for scores.
    """
    settings = dataclasses.asdict(samples)
    if samples.data == "random":
        settings |= _DATA_SET_DEFAULTS  # they have no effect
    return {
        k: v
        for k, v in settings.items()
        if k not in _LEFT_OUT_DEFAULTS or _LEFT_OUT_DEFAULTS[k] != v
    }


def digest_of(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that differ where settings do."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where data are, and a stamp that changes when they do."""

    source: str
    """An absolute path or a name."""
    stamp: str
    """Digest of the names, sizes and times (or ETags) of the files.

    Empty if it is not known: of a named source whose files are not there, or that is the user's.
    """

    def may_be(self, before: DataSource) -> bool:
        """Whether nothing is known that speaks against its being the same data."""
        is_known = self.stamp and before.stamp
        return self.source == before.source and (self.stamp == before.stamp or not is_known)


def source_name(data: str) -> str:
    """``SampleConfig.data`` as an absolute path, or the name or S3 URI it is."""
    if data == "random" or data in SOURCES or data.startswith(PREFIX):
        return data
    return os.path.abspath(os.path.expanduser(cache_folder(data)))


def find_source(data: str) -> DataSource:
    """Look at the files of ``SampleConfig.data``, also behind links to folders.

    Files that cannot be seen are left out: reading the data tells what is wrong with them. Objects
    below an S3 prefix are listed and not read: their sizes and ETags count.

    Raises:
        StorageError: If the objects cannot be listed.
    """
    name = source_name(data)
    if name.startswith(PREFIX):
        return _find_objects(name)
    if name == data and not os.path.isabs(name):
        # Not above: it takes long to import, and random data do without.
        from nasi_ray.data.torchvision_sets import set_files

        files = set_files(name) if name in SOURCES else []
        return DataSource(name, _stamp(files) if files else "")
    path = Path(name)
    return DataSource(name, _stamp(walk(path, on_error=None)[0] if path.is_dir() else [path]))


def _stamp(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            status = file.stat()
        except (OSError, ValueError):
            continue
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()[:16]


def _find_objects(uri: str) -> DataSource:
    digest = hashlib.sha256()
    for item in objects_below(list_once(uri)):
        digest.update(f"{item.key}\0{item.size}\0{item.etag}\n".encode(errors="replace"))
    return DataSource(uri, digest.hexdigest()[:16])


def read_source(storage: Storage) -> DataSource | None:
    """The source of the run's last evaluation; None if it is not known."""
    try:
        return DataSource(**json.loads(storage.read(SOURCE_NAME)))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
