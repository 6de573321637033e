"""The export: a trained model's files for other programs, each compared with the network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from nasi_ray.display.tables import text_table
from nasi_ray.errors import ConfigError, DataError, ExportError
from nasi_ray.export.card import model_card
from nasi_ray.export.programs import (
    Classify,
    exported,
    largest_difference,
    onnx_program,
    pt2_program,
    python_program,
)
from nasi_ray.export.settings import ExportJob, Format
from nasi_ray.run.counts import count
from nasi_ray.run.plan import settle_beside
from nasi_ray.run.provenance import versions
from nasi_ray.spaces import Architecture
from nasi_ray.storage import Storage, open_storage
from nasi_ray.training.model import (
    MODEL_JSON,
    WEIGHTS,
    ModelConfig,
    build_model,
    constructor,
    load_model,
    save_model,
)

SCHEMA = "nasi_ray.export/1"
TOLERANCE = 1e-4
"""Largest difference between a program's logits and the network's (``largest_difference``)."""
FILES: dict[Format, str] = {"python": "model.py", "pt2": "model.pt2", "onnx": "model.onnx"}
MODEL_NAME = "nasi_cell"
"""In timm, once ``nasi_ray.timm`` is imported."""
TIMM_JSON = "config.json"
RESULT = "result.json"
RECORD = "export.json"
CARD = "README.md"


def run_export(job: ExportJob, message: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Export a run's model; every file is written whole, and as soon as it is made.

    Args:
        job: Settings.
        message: Is called with a line about each program as it is done.

    Returns:
        JSON-ready, what ``export.json`` holds: ``uri``, ``differences`` (format -> largest
        difference), ``files``, the counts of ``describe``, ``versions``.

    Raises:
        NasiRayError: For every failure that a user can cause.
        ExportError: If a format does not compute what the network does; its file is not written.
    """
    source = open_storage(job.run)
    target = open_storage(settle_beside(job.out, job.target))
    if source.uri == target.uri:
        raise ConfigError(
            f"out is the run directory {source.uri}; give another, because export would overwrite "
            "its model"
        )
    net, config = load_model(source)
    _refuse_infinite(net, source)
    net, config = _without_tower(net, config)
    save_model(target, net.state_dict(), config)
    files = [WEIGHTS, MODEL_JSON, TIMM_JSON]
    target.write(TIMM_JSON, _json(_timm_config(config, job.license)))
    differences: dict[str, float] = {}
    for name, (data, program) in _programs(job, net, config):
        differences[name] = largest_difference(net, program, config)
        _check(name, differences[name])
        target.write(FILES[name], data)
        files.append(FILES[name])
        if message is not None:
            message(f"{FILES[name]} written")
    files += _write_pictures(target, config.parsed())
    counts = count(constructor(config), image_size=config.image_size)
    content = {
        "schema": SCHEMA,
        "uri": target.uri,
        "files": [*files, RECORD, CARD],
        "differences": differences,
        "parameters": counts.parameters,
        "madds": counts.madds,
        "training": _training(source),
        "versions": versions(),
    }
    target.write(RECORD, _json(content))
    target.write(CARD, model_card(config, content, license=job.license).encode())
    return content


def _refuse_infinite(net: nn.Module, source: Storage) -> None:
    broken = [n for n, t in net.state_dict().items() if not t.isfinite().all()]
    if broken:
        raise DataError(
            f"{broken[0]} in {source.uri}/{WEIGHTS} has values that are not finite, so the "
            "training has failed; train again, with a lower learning rate for instance"
        )


def _without_tower(net: nn.Module, config: ModelConfig) -> tuple[nn.Module, ModelConfig]:
    """The network without its auxiliary tower, which is for training only."""
    if not config.auxiliary:
        return net, config
    config = dataclasses.replace(config, auxiliary=False)
    alone, tensors = build_model(config), net.state_dict()
    alone.load_state_dict({name: tensors[name] for name in alone.state_dict()})
    return alone.eval(), config


def _programs(
    job: ExportJob, net: nn.Module, config: ModelConfig
) -> Iterator[tuple[Format, tuple[bytes, Classify]]]:
    """Format -> its file, and what the file computes; made one by one."""
    if "python" in job.formats:
        yield "python", python_program(net, config)
    if {"pt2", "onnx"} & set(job.formats):
        program = exported(net, config)
        for name, make in (("pt2", pt2_program), ("onnx", onnx_program)):
            if name in job.formats:
                yield name, make(program, config)


def _check(name: Format, difference: float) -> None:
    if not difference <= TOLERANCE:  # also where it is not a number
        raise ExportError(
            f"{FILES[name]} differs from the network by {difference:.1e}; at most {TOLERANCE:.0e} "
            "is allowed, so it was not written. The files before it were. Leave the format out of "
            "--formats to export the rest"
        )


def _timm_config(config: ModelConfig, license: str) -> dict[str, Any]:
    """What timm reads of a directory (``local-dir:``) or a model on Hugging Face (``hf-hub:``)."""
    return {
        "architecture": MODEL_NAME,
        "num_classes": config.num_classes,
        "model_args": {"config": config.to_dict()},
        "pretrained_cfg": {**config.to_timm(), "license": license},
    }


def _write_pictures(target: Storage, cell: Architecture) -> list[str]:
    from nasi_ray.search.cell_plot import save_architecture_plot  # takes a second to import

    pictures = {f"cell.{kind}": data for kind, data in (save_architecture_plot(cell) or {}).items()}
    for name, data in pictures.items():
        target.write(name, data)
    return list(pictures)


def _training(source: Storage) -> dict[str, Any]:
    """What the run says of its training; empty if it says nothing."""
    try:
        result = json.loads(source.read(RESULT))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source.uri}/{RESULT} is not JSON ({error})") from None
    return result if isinstance(result, dict) else {}


def _json(content: Any) -> bytes:
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()


def export_lines(content: dict[str, Any]) -> str:
    """An export for a terminal.

    Args:
        content: Of ``run_export``.
    """
    rows = [(FILES[name], f"{found:.1e}") for name, found in content["differences"].items()]
    table = text_table(("file", "largest difference from the network"), rows) if rows else []
    return "\n".join([*table, f"written to {content['uri']}: {', '.join(content['files'])}"])
