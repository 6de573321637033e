"""The model card: README.md with the front matter that Hugging Face reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from nasi_ray.display.formats import plural, wrapped
from nasi_ray.spaces import Genotype
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture
from nasi_ray.training.model import WEIGHTS, ModelConfig

_FIGURES = {"top1": "top-1 accuracy, %", "top5": "top-5 accuracy, %", "test_loss": "test loss"}


def model_card(config: ModelConfig, content: Mapping[str, Any], *, license: str) -> str:
    """Write the card.

    Args:
        config: The network.
        content: Of ``export.job.run_export``.
        license: Identifier of the licence of the weights.
    """
    training = content["training"]
    sections = [
        f"---\n{yaml.safe_dump(_front(config, training, license), sort_keys=False)}---",
        f"# {_title(config)}",
        _summary(config, content),
        "![the cell](cell.png)" if "cell.png" in content["files"] else "",
        f"## Use\n\n{_usage(config, content['files'])}",
        f"## Figures\n\n{_table(_figures(content))}",
        f"## Cell\n\n```\n{_cell(config)}\n```",
        f"## Provenance\n\n{_table(_provenance(config, content))}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _title(config: ModelConfig) -> str:
    cells = "" if config.num_cells is None else f", {plural(config.num_cells, 'cell')}"
    return f"{config.space} on {config.network}: C={config.init_channels}{cells}"


def _front(config: ModelConfig, training: Mapping[str, Any], license: str) -> dict[str, Any]:
    front: dict[str, Any] = {
        "license": license,
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "neural-architecture-search", "nasi_ray"],
    }
    known = {name: training[name] for name in ("top1", "top5") if _is_number(training.get(name))}
    if known:
        front["model-index"] = [_index(config, training, known)]
    return front


def _index(
    config: ModelConfig, training: Mapping[str, Any], known: Mapping[str, float]
) -> dict[str, Any]:
    data = str(training.get("data", "not stated"))
    return {
        "name": _title(config),
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": data, "type": data, **_split(training)},
                "metrics": [
                    {"type": "accuracy", "name": _named(name, training), "value": value}
                    for name, value in known.items()
                ],
            }
        ],
    }


def _split(training: Mapping[str, Any]) -> dict[str, str]:
    """The split of the figures; none where training images were held out."""
    return {} if "holdout" in training else {"split": str(training.get("test_split", "test"))}


def _named(name: str, training: Mapping[str, Any]) -> str:
    if "holdout" not in training:
        return _FIGURES[name]
    return f"{_FIGURES[name].replace('test ', '')} (of training images that were held out)"


def _summary(config: ModelConfig, content: Mapping[str, Any]) -> str:
    return (
        f"A network of {content['parameters']:,} parameters for images of "
        f"{config.image_size} pixels and {config.num_classes} classes, trained with nasi_ray. Its "
        f"cell is of the space {config.space}."
    )


def _usage(config: ModelConfig, files: list[str]) -> str:
    size = config.image_size
    has_numpy = isinstance(config.parsed(), NB1Shot1Architecture)
    parts = [
        "Images are (pixel / 255 - mean) / std, channel by channel, with "
        f"mean = {_numbers(config.mean)} and std = {_numbers(config.std)}; the output is logits.",
        f"With timm and nasi_ray, from this directory:\n\n{_code(_TIMM)}",
    ]
    if "model.py" in files:
        needed = "torch, safetensors and NumPy" if has_numpy else "torch and safetensors"
        parts.append(f"With {needed} alone:\n\n{_code(_PYTHON % (size, size))}")
    if "model.pt2" in files:
        parts.append(f"As a program of torch.export:\n\n{_code(_PT2)}")
    if "model.onnx" in files:
        parts.append(f"With ONNX Runtime:\n\n{_code(_ONNX)}")
    return "\n\n".join(parts)


_TIMM = f"""import timm
import nasi_ray.timm

net = timm.create_model("nasi_cell", checkpoint_path="{WEIGHTS}").eval()
net = timm.create_model("local-dir:.", pretrained=True).eval()  # the same; or hf-hub:..."""
_PYTHON = """from model import load, prepare

logits = load()(prepare(pixels))  # 0 to 255, shape (batch, 3, %d, %d)"""
_PT2 = """import torch

logits = torch.export.load("model.pt2").module()(images)"""
_ONNX = """import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"images": images})  # float32"""


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _figures(content: Mapping[str, Any]) -> dict[str, str]:
    training = content["training"]
    known = {
        _named(name, training): f"{training[name]:.4g}"
        for name in _FIGURES
        if _is_number(training.get(name))
    }
    differences = {
        f"largest difference of {name} from the network": f"{found:.1e}"
        for name, found in content["differences"].items()
    }
    return {
        **(known or {"accuracy": "not stated by the run"}),
        "parameters": f"{content['parameters']:,}",
        "multiply-adds (convolutions and linear), one image": f"{content['madds']:,}",
        **differences,
    }


def _provenance(config: ModelConfig, content: Mapping[str, Any]) -> dict[str, str]:
    training = content["training"]
    stated = {
        name: str(training[name])
        for name in (
            "recipe",
            "data",
            "num_train_images",
            "num_test_images",
            "holdout",
            "epochs",
            "batch_size",
            "seed",
        )
        if name in training
    }
    trained_with = training.get("versions")
    return {
        **stated,
        **({"trained with": _versions(trained_with)} if isinstance(trained_with, dict) else {}),
        "exported with": _versions(content["versions"]),
        "classes": ", ".join(config.class_names) or "not named",
    }


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _cell(config: ModelConfig) -> str:
    cell = config.parsed()
    text = cell.to_darts() if isinstance(cell, Genotype) else cell.to_string()
    return "\n".join(wrapped(text, hanging="    "))


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {_escaped(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _escaped(value: str) -> str:
    """As one cell of a table: a name of a class or file may hold anything."""
    return " ".join(value.replace("|", "\\|").split())


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:.4f}' for value in values)})"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
