"""Parts of a page as HTML, with the library that draws its figures inside."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from platformdirs import user_cache_path
from vl_convert import javascript_bundle

from nasi_ray.errors import StorageError
from nasi_ray.pages.blocks import Explorer, Figure, Part
from nasi_ray.pages.lanes import KINDS
from nasi_ray.pages.specs import GREY
from nasi_ray.storage import LocalStorage
from nasi_ray.version import __version__

_VEGA_LITE = "6.4"


def to_html(parts: Sequence[Part]) -> bytes:
    """One file that needs no other.

    Texts are escaped by the template, and what scripts read cannot end its element.

    Args:
        parts: One a run (at least one).
    """
    loader = PackageLoader("nasi_ray", "pages")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)

    def read(name: str) -> str:
        return loader.get_source(pages, name)[0]

    text = pages.get_template("page.html").render(
        title=parts[0].title if len(parts) == 1 else f"{len(parts)} runs of nasi_ray",
        parts=parts,
        version=__version__,
        css=read("page.css"),
        script=read("page.js"),
        bundle=_library(),
        data=json_in_html(_data(parts)),
    )
    return text.encode(errors="replace")


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script; it takes a second to make, so it is kept."""
    folder = user_cache_path("nasi_ray")
    kept = LocalStorage(folder) if folder.is_absolute() else None  # "~" where there is no home
    name = f"vega-{_VEGA_LITE}-{version('vl-convert-python')}.js"
    if kept is not None:
        with contextlib.suppress(FileNotFoundError, StorageError, UnicodeDecodeError):
            return kept.read(name).decode()
    script: str = javascript_bundle(vl_version=_VEGA_LITE)  # type: ignore[call-arg]  # wrong stub
    script = script.replace("</script", "<\\/script")
    if kept is not None:
        with contextlib.suppress(StorageError):
            kept.write(name, script.encode())
    return script


def _data(parts: Sequence[Part]) -> dict[str, Any]:
    """What ``page.js`` reads: figures and controls by the ids that the template gives them."""
    figures, explorers = {}, {}
    for p, part in enumerate(parts):
        for s, section in enumerate(part.sections):
            for b, block in enumerate(section.blocks):
                if isinstance(block, Figure):
                    description = f"{block.title}. {block.about}".strip()
                    figures[f"p{p}-{block.name}"] = {**block.spec, "description": description}
                elif isinstance(block, Explorer):
                    explorers[f"p{p}-s{s}-b{b}"] = block.content
    return {
        "figures": figures,
        "explorers": explorers,
        "colours": list(KINDS.items()),
        "grey": GREY,
    }


def json_in_html(content: Mapping[str, Any]) -> str:
    """JSON that ends no script element; a number that is not finite becomes null."""
    text = json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
