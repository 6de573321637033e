"""Decode NAS-Bench-101's ``ModelMetrics`` from the protobuf wire format. No protobuf package.

message ModelMetrics   { repeated EvaluationData evaluation_data = 1;
                         int32 trainable_parameters = 2; double total_time = 3; }
message EvaluationData { double current_epoch = 1; double training_time = 2;
                         double train_accuracy = 3; double validation_accuracy = 4;
                         double test_accuracy = 5; string checkpoint_path = 6; }
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_FIXED_SIZE = {_DOUBLE: 8, _FLOAT: 4}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The network at one moment of its training."""

    current_epoch: float
    training_time: float
    """Seconds."""
    train_accuracy: float
    """Fraction, as the other accuracies."""
    validation_accuracy: float
    test_accuracy: float


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """One training run."""

    evaluations: tuple[Evaluation, ...]
    """In the file's order: at the start, half way and at the end."""
    trainable_parameters: int


def decode_model_metrics(data: bytes) -> ModelMetrics:
    """Decode one message.

    Raises:
        ValueError: If it is cut off, or a field is missing or has another type.
    """
    evaluations: list[Evaluation] = []
    parameters: int | None = None
    for field, wire_type, value in _fields(data):
        if field == 1 and wire_type == _BYTES and isinstance(value, bytes):
            evaluations.append(_decode_evaluation(value))
        elif field == 2 and isinstance(value, int):
            parameters = value
        elif field in (1, 2):
            raise ValueError(f"its metrics have field {field} of wire type {wire_type}")
    if parameters is None or not evaluations:
        raise ValueError("its metrics have no evaluation_data or no trainable_parameters")
    if parameters >= 1 << 31:
        raise ValueError("its trainable_parameters are negative or over 31 bits")
    return ModelMetrics(tuple(evaluations), parameters)


def _decode_evaluation(data: bytes) -> Evaluation:
    numbers: dict[int, float] = {}
    for field, wire_type, value in _fields(data):
        if 1 <= field <= 5:
            numbers[field] = _double(field, wire_type, value)
    missing = [field for field in range(1, 6) if field not in numbers]
    if missing:
        raise ValueError(f"its evaluation_data have no field {missing[0]}")
    return Evaluation(*(numbers[field] for field in range(1, 6)))


def _double(field: int, wire_type: int, value: int | bytes) -> float:
    if wire_type != _DOUBLE or not isinstance(value, bytes):
        raise ValueError(f"its evaluation_data have field {field} of wire type {wire_type}")
    (number,) = struct.unpack("<d", value)
    return float(number)


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Field number, wire type, and the integer or the bytes of every field."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        field, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield field, wire_type, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(data, position)
        elif wire_type in _FIXED_SIZE:
            size = _FIXED_SIZE[wire_type]
        else:
            raise ValueError(f"its metrics have unknown wire type {wire_type}")
        if position + size > len(data):
            raise ValueError("its metrics are cut off")
        yield field, wire_type, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("its metrics are cut off")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("its metrics have a number of over 10 bytes")
