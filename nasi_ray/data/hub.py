"""Data sets in the cache of Hugging Face's hub, as ``hf download`` leaves them. Light to import."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nasi_ray.errors import DataError
from nasi_ray.files import read_text

PREFIX = "hf:"
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def cache_folder(data: str) -> str:
    """``hf:OWNER/NAME`` as the path of its folder in the cache; anything else as it is.

    The cache is ``$HF_HUB_CACHE``, else ``$HF_HOME/hub``, else ``~/.cache/huggingface/hub``.
    """
    name = data.removeprefix(PREFIX)
    if not data.startswith(PREFIX) or not _NAME.fullmatch(name):
        return data
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    cache = os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.join(os.path.expanduser(cache), "datasets--" + name.replace("/", "--"))


def find_snapshot(folder: Path) -> Path:
    """The files of a data set in the cache; any other folder as it is.

    Raises:
        DataError: If there is no snapshot, or it is not clear which one is meant.
    """
    snapshots = folder / "snapshots"
    if not folder.name.startswith("datasets--") or not snapshots.is_dir():
        return folder
    found = sorted(path.name for path in snapshots.iterdir() if path.is_dir())
    try:
        main = read_text(folder / "refs" / "main", 1000).strip()
    except (OSError, ValueError):
        main = ""
    if main in found:
        return snapshots / main
    if len(found) == 1:
        return snapshots / found[0]
    raise DataError(
        f"{folder}: {len(found)} snapshots and refs/main names none of them; name the path of one, "
        "or fetch the data set again"
    )
