"""The parts of a page about studies: their text and figures as they are."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from nasi_ray.errors import RecordCorruptError
from nasi_ray.pages.blocks import Block, Code, Note, Part, Picture, Table
from nasi_ray.pages.files import read_json, section
from nasi_ray.pages.made import versions_table
from nasi_ray.storage import Storage

_SCHEMA = "nasi_ray.study/"


def study_parts(storage: Storage) -> list[Part]:
    """Describe the studies in a directory; none if there is none.

    Args:
        storage: The directory.

    Raises:
        StorageError: If the storage fails.
    """
    found = []
    for name in sorted(n for n in storage.list("") if n.endswith(".json") and "/" not in n):
        try:
            content = read_json(storage, name)
        except RecordCorruptError:
            continue  # not ours
        if content is not None and str(content.get("schema", "")).startswith(_SCHEMA):
            found.append(_part(storage, name.removesuffix(".json"), content))
    return found


def _part(storage: Storage, name: str, content: Mapping[str, Any]) -> Part:
    try:
        text = storage.read(f"{name}.md").decode(errors="replace")
    except FileNotFoundError:
        text = ""
    title = text.partition("\n")[0].removeprefix("# ") or f"Study {name}"
    runs = content.get("runs", [])
    return Part(
        title=title,
        verdict=f"{title}: {len(runs)} runs; the tables are below as text, all numbers in "
        f"{name}.json.",
        sections=[
            section("Figures", lambda: _pictures(storage, name)),
            section("Results", lambda: [Code(title=f"{name}.md", text=text)] if text else
                    [Note(text=f"{storage.uri}/{name}.md is gone.")]),
            section("How it was made", lambda: _made(content)),
        ],
    )  # fmt: skip


def _pictures(storage: Storage, name: str) -> list[Block]:
    names = [n for n in storage.list("") if n.startswith(name) and n.endswith(".svg")]
    if not names:
        return [Note(text="There are no figures.")]
    return [
        Picture(
            title=file.removesuffix(".svg"),
            data=f"data:image/svg+xml;base64,{base64.b64encode(storage.read(file)).decode()}",
            alt=f"Figure {file}; the results below have its numbers.",
        )
        for file in sorted(names)
    ]


def _made(content: Mapping[str, Any]) -> list[Block]:
    command = str(content.get("command") or "")
    rows = [(run.get("uri") or run.get("run"), run.get("num_failed"), run.get("sample_seconds"))
            for run in content.get("runs", []) if isinstance(run, dict)]  # fmt: skip
    headings = ("run", "samples left out", "seconds")
    return [
        *([Code(title="The command", text=command)] if command else []),
        Table(title="Runs", headings=headings, rows=rows, is_folded=True),
        *versions_table(content),
    ]
