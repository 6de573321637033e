"""Programs of a network in the formats of torch.export and ONNX, and the outputs they give."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nasi_ray.export.source import python_source
from nasi_ray.training.model import MODEL_JSON, ModelConfig

INPUT, OUTPUT = "images", "logits"
BATCHES = (1, 5)
"""Sizes of the batches that programs are compared on; neither is that of the export."""

Classify = Callable[[Tensor], Tensor]
"""Images, shape (batch, 3, image_size, image_size) -> logits, shape (batch, classes)."""


def fixed_images(config: ModelConfig, batch: int) -> Tensor:
    """Images of independent standard normal pixels, always the same."""
    generator = torch.Generator().manual_seed(batch)
    size = config.image_size
    return torch.randn((batch, 3, size, size), generator=generator)


def exported(net: nn.Module, config: ModelConfig) -> ExportedProgram:
    """The program of a network in evaluation mode, for batches of any size."""
    return torch.export.export(net, (fixed_images(config, 2),), dynamic_shapes=({0: Dim("batch")},))


def pt2_program(program: ExportedProgram, config: ModelConfig) -> tuple[bytes, Classify]:
    """A file for ``torch.export.load``, and what it computes once it is loaded."""
    buffer = io.BytesIO()
    about = {MODEL_JSON: json.dumps(config.to_dict())}
    torch.export.save(program, buffer, extra_files=about)
    loaded = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    return buffer.getvalue(), loaded


def onnx_program(program: ExportedProgram, config: ModelConfig) -> tuple[bytes, Classify]:
    """An ONNX file, and what ONNX Runtime computes with it; the extra ``export`` is needed."""
    import onnxruntime

    made = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT]
    )
    proto = made.model_proto  # type: ignore[union-attr]
    entry = proto.metadata_props.add()
    entry.key, entry.value = MODEL_JSON, json.dumps(config.to_dict())
    data: bytes = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def classify(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])

    return data, classify


def python_program(net: nn.Module, config: ModelConfig) -> tuple[bytes, Classify]:
    """A file of Python, and what its network computes with the weights of ``net``."""
    source = python_source(config).encode()
    module = ModuleType("exported_model")
    module.__file__ = "model.py"
    sys.modules[module.__name__] = module  # where dataclasses look their module up
    try:
        exec(compile(source, "model.py", "exec"), module.__dict__)
        alone: nn.Module = module.build()
    finally:
        del sys.modules[module.__name__]
    alone.load_state_dict(net.state_dict())
    return source, alone.eval()


def largest_difference(net: Classify, program: Classify, config: ModelConfig) -> float:
    """Largest |difference| of two outputs, relative to the largest |logit| where that exceeds 1."""
    differences = []
    for batch in BATCHES:
        x = fixed_images(config, batch)
        with torch.no_grad():
            expected, found = net(x), program(x)
        scale = expected.abs().max().clamp(min=1)
        differences.append((found - expected).abs().max() / scale)
    return float(torch.stack(differences).max())  # not a number if one is not
