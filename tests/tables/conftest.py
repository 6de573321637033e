"""Write small files in NAS-Bench-101's official format, by other means than the package reads them.

Checksums are made bit by bit, metrics by the protobuf package.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

# Imported by name: the protobuf package has no type stubs here.
descriptor_pb2, descriptor_pool, message_factory = (
    import_module(f"google.protobuf.{name}")
    for name in ("descriptor_pb2", "descriptor_pool", "message_factory")
)


def slow_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One TFRecord."""

    def masked(part: bytes) -> bytes:
        crc = slow_crc32c(part)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def _make_message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="nasi_ray_test_model_metrics.proto", package="nasi_ray_test", syntax="proto2"
    )
    field = descriptor_pb2.FieldDescriptorProto
    evaluation = file.message_type.add(name="EvaluationData")
    names = "current_epoch training_time train_accuracy validation_accuracy test_accuracy"
    for number, name in enumerate(names.split(), start=1):
        evaluation.field.add(
            name=name, number=number, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL
        )
    evaluation.field.add(
        name="checkpoint_path", number=6, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL
    )
    metrics = file.message_type.add(name="ModelMetrics")
    metrics.field.add(
        name="evaluation_data",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".nasi_ray_test.EvaluationData",
    )
    metrics.field.add(
        name="trainable_parameters", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL
    )
    metrics.field.add(
        name="total_time", number=3, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("nasi_ray_test.ModelMetrics")
    return message_factory.GetMessageClass(descriptor)


_ModelMetrics = _make_message_class()


def encode_metrics(
    evaluations: list[dict[str, float]], trainable_parameters: int = 8_555_530
) -> bytes:
    message = _ModelMetrics(trainable_parameters=trainable_parameters, total_time=1234.5)
    for numbers in evaluations:
        message.evaluation_data.add(checkpoint_path="/x/model.ckpt-1", **numbers)
    data: bytes = message.SerializeToString()
    return data


def evaluation(epoch: float, valid: float, test: float, time: float = 10.0) -> dict[str, float]:
    return {
        "current_epoch": epoch,
        "training_time": time,
        "train_accuracy": 1.0,
        "validation_accuracy": valid,
        "test_accuracy": test,
    }


def trial(
    digest: str,
    epochs: int,
    adjacency: str,
    ops: str,
    valid: float,
    test: float,
    *,
    final_epoch: float | None = None,
    trainable_parameters: int = 8_555_530,
) -> bytes:
    """The data of one record, with the evaluations that the official ones have."""
    end = float(epochs) if final_epoch is None else final_epoch
    evaluations = [
        evaluation(0.0, 0.1, 0.1, 0.0),
        evaluation(epochs / 2, valid / 2, test / 2, epochs / 2),
        evaluation(end, valid, test, 2.0 * epochs),
    ]
    metrics = base64.b64encode(encode_metrics(evaluations, trainable_parameters)).decode()
    return json.dumps([digest, epochs, adjacency, ops, metrics]).encode()


class OfficialFormat:
    """What tests need to write a file."""

    frame = staticmethod(frame)
    slow_crc32c = staticmethod(slow_crc32c)
    encode_metrics = staticmethod(encode_metrics)
    evaluation = staticmethod(evaluation)
    trial = staticmethod(trial)


@pytest.fixture
def official() -> OfficialFormat:
    return OfficialFormat()


@pytest.fixture
def data_file() -> Callable[[str], Path]:
    """Path of a table of real data; skips the test where it is not."""

    def find(name: str) -> Path:
        default = Path(__file__).parents[2].parent / "shared" / "data"
        path = Path(os.environ.get("NASI_DATA", default)) / name
        if not path.exists():
            pytest.skip(f"{path} is not there; set NASI_DATA to the folder of the tables")
        return path

    return find
