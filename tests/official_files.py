"""Small files in the benchmarks' official formats, by other means than the package reads them.

NAS-Bench-101: checksums are made bit by bit, metrics by the protobuf package. NATS-Bench: the
classes of the nats-bench package itself.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from nasi_ray.spaces.graph import prune
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture, NB1Shot1Space

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


def write_nasbench101(path: Path, records: Iterable[bytes]) -> Path:
    """A TFRecord file."""
    path.write_bytes(b"".join(map(frame, records)))
    return path


def trials_of_space(space: NB1Shot1Space, *, skip: int = 0) -> list[bytes]:
    """One trial at 108 epochs of every distinct cell of a space but the first few.

    The test accuracies are the cells' ranks by hash over 100,000, the validation accuracies 0.5.
    """
    index = {architecture.hash(): architecture for architecture in space}
    return [
        trial(digest, 108, *_pruned(index[digest]), 0.5, rank / 100_000)
        for rank, digest in list(enumerate(sorted(index)))[skip:]
    ]


def _pruned(architecture: NB1Shot1Architecture) -> tuple[str, str]:
    matrix, ops = prune(architecture.matrix(), architecture.vertex_ops())
    return "".join(map(str, matrix.ravel().tolist())), ",".join(ops)


NATS_SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
"""What NATS-Bench's networks are trained on, and evaluated on."""


def nats_accuracy(index: int, name: str, images: str, seed: int, epoch: int) -> float:
    """An accuracy in percent that no other evaluation of ``write_natsbench`` shares."""
    position = list(NATS_SETS).index(name) * 3 + NATS_SETS[name].index(images)
    return index * 8 + position / 2 + (seed - 777) / 1000 + epoch / 10_000


def write_natsbench(folder: Path, archs: list[str]) -> tuple[Path, Path]:
    """NATS-Bench's topology data as a file and as a folder.

    Two trials of 12 and 200 epochs; one of 200 epochs on CIFAR-100 and ImageNet16-120, and only of
    architectures with an even index.
    """
    api = import_module("nats_bench.api_utils")
    infos = {
        index: {str(epochs): _nats_results(api, index, arch, epochs) for epochs in (12, 200)}
        for index, arch in enumerate(archs)
    }
    simple = folder / "NATS-tss-v1_0-small-simple"
    simple.mkdir()
    api.pickle_save({"meta_archs": archs}, simple / "meta.pickle")
    for index, info in infos.items():
        api.pickle_save(info, simple / f"{index:06d}.pickle")
    whole = {"meta_archs": archs, "arch2infos": infos, "evaluated_indexes": list(infos)}
    api.pickle_save(whole, folder / "NATS-tss-v1_0-small.pickle")
    return folder / "NATS-tss-v1_0-small.pickle.pbz2", simple


def write_old_nasbench201(folder: Path, archs: list[str]) -> Path:
    """``write_natsbench``'s data as NAS-Bench-201 had them before NATS-Bench."""
    api = import_module("nats_bench.api_utils")
    infos = {
        index: {
            label: _nats_results(api, index, arch, epochs)
            for label, epochs in (("less", 12), ("full", 200))
        }
        for index, arch in enumerate(archs)
    }
    path = folder / "NAS-Bench-201-v1_1-small.pth"
    content = {"meta_archs": archs, "arch2infos": infos, "evaluated_indexes": set(infos)}
    torch.save(content, path)
    return path


def _nats_results(api: Any, index: int, arch: str, epochs: int) -> Any:
    results = api.ArchResults(index, arch)
    ones = dict.fromkeys(range(epochs), 1.0)
    config = {"arch_str": arch, "channel": 16, "num_cells": 5, "class_num": 10}
    for name, sets in NATS_SETS.items():
        is_cifar10 = name.startswith("cifar10-") or name == "cifar10"
        if not is_cifar10 and (epochs == 12 or index % 2):
            continue
        for seed in (777, 888) if is_cifar10 else (777,):
            run = api.ResultsCount(name, None, ones, ones, 1.0, 1.0, config, seed, epochs, None)
            run.update_train_info(ones, ones, ones, ones)
            accuracies = {
                f"{images}@{epoch}": nats_accuracy(index, name, images, seed, epoch)
                for images in sets
                for epoch in range(epochs)
            }
            run.update_eval(accuracies, accuracies, accuracies)
            results.update(name, seed, run)
    return results.state_dict()
