"""The parts of a page about studies: their figures, and their text with its tables."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from nasi_ray.display.formats import plural
from nasi_ray.errors import RecordCorruptError
from nasi_ray.pages.blocks import Block, Code, Note, Part, Picture, Table
from nasi_ray.pages.files import read_json, section
from nasi_ray.pages.made import versions_table
from nasi_ray.pages.markdown import markdown_sections
from nasi_ray.run.schemas import STUDY_SCHEMAS, refuse_other_schema
from nasi_ray.storage import Storage

_SCHEMA = "nasi_ray.study/"


def study_parts(storage: Storage) -> list[Part]:
    """Describe the studies in a directory; none if there is none.

    Args:
        storage: The directory.

    Raises:
        RecordCorruptError: If one is of another version.
        StorageError: If the storage fails.
    """
    found = []
    for name in sorted(n for n in storage.list("") if n.endswith(".json") and "/" not in n):
        try:
            content = read_json(storage, name)
        except RecordCorruptError:
            continue  # not ours
        if content is not None and str(content.get("schema", "")).startswith(_SCHEMA):
            refuse_other_schema(content, f"{storage.uri}/{name}", *STUDY_SCHEMAS)
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
        verdict=f"{title}: {plural(len(runs), 'run')}; all numbers are in {name}.json.",
        sections=[
            section("Figures", lambda: _pictures(storage, name)),
            *markdown_sections(text or f"{storage.uri}/{name}.md is gone.", "Results"),
            section("The command", lambda: [*_made(content), *_whole(name, text)]),
        ],
    )


def _whole(name: str, text: str) -> list[Block]:
    return [Code(title=f"All of it as Markdown ({name}.md)", text=text, is_folded=True)]


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
        *([Code(title="To run it again", text=command)] if command else []),
        Table(title="Runs", headings=headings, rows=rows, is_folded=True),
        *versions_table(content),
    ]
