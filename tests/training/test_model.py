"""Models as files: what is written is read back, and what is broken is refused in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from nasi_ray.errors import ConfigError, DataError, NasiRayError, UnknownNameError
from nasi_ray.networks.conv import Conv
from nasi_ray.spaces import Genotype
from nasi_ray.storage import open_storage
from nasi_ray.training.model import (
    ModelConfig,
    build_model,
    load_model,
    save_model,
)
from tests.spaces.cells import DARTS_V2
from tests.training.models import ARCHITECTURES, tiny_config, trained


def images(config: ModelConfig, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((batch, 3, config.image_size, config.image_size), generator=generator)


@pytest.mark.parametrize("space", ARCHITECTURES)
def test_a_saved_model_is_loaded_again(tmp_path: Path, space: str) -> None:
    config = tiny_config(space, auxiliary=space == "darts")
    net, storage = trained(config), open_storage(str(tmp_path))
    save_model(storage, net.state_dict(), config)
    loaded, its_config = load_model(storage)
    assert its_config.to_dict() == config.to_dict()
    assert its_config.parsed() == config.parsed()
    assert not loaded.training
    assert torch.equal(loaded(images(config)), net(images(config)))


@pytest.mark.parametrize("space", ARCHITECTURES)
def test_models_are_made_of_operations_that_exporters_know(space: str) -> None:
    net = build_model(tiny_config(space))
    assert not any(isinstance(module, Conv) for module in net.modules())
    output = net.train()(images(tiny_config(space)))
    seen, queue = set(), [output.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            queue += [before for before, _ in node.next_functions]
    assert not {type(node).__name__ for node in seen if type(node).__module__ != "builtins"}


def test_parameters_are_of_the_seed_alone() -> None:
    config = tiny_config()
    first, again, other = (build_model(config, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


UNUSED_IN_DARTS = tiny_config(
    architecture=dataclasses.replace(
        Genotype.parse(DARTS_V2), normal_concat=(5,), reduce_concat=(2, 5)
    ).to_json(),
    auxiliary=True,
)
UNUSED_IN_NB201 = tiny_config(
    "nb201",
    architecture="|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|",
)


def loss_of(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    logits = output if isinstance(output, tuple) else (output,)
    return torch.stack([one.square().sum() for one in logits]).sum()


def test_parameters_that_nothing_depends_on_require_no_gradient() -> None:
    for config in (UNUSED_IN_DARTS, UNUSED_IN_NB201):
        net = build_model(config).train()
        loss_of(net(images(config))).backward()
        assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
        assert any(not p.requires_grad for p in net.parameters())
    assert all(p.requires_grad for p in build_model(tiny_config()).parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "benchmark"}, "network is benchmark; cells of darts have cifar10, cifar100"),
        ({"class_names": ("ant",)}, "1 class_names for 3 classes"),
        ({"std": (0.1, 0.0, 0.1)}, "every number must be above 0"),
        ({"init_channels": 0}, "init_channels is 0; it must be 1 to"),
        ({"architecture": "|none~0|"}, "no genotype can be read"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NasiRayError, match=message):
        tiny_config(**changes)


def test_unknown_spaces_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean darts"):
        dataclasses.replace(tiny_config(), space="dart")


def test_a_benchmark_fixes_its_network() -> None:
    with pytest.raises(ConfigError, match="fixes its number of cells"):
        tiny_config("s1", num_cells=9)
    with pytest.raises(ConfigError, match="network is cifar10; cells of nb201 have benchmark"):
        tiny_config("nb201", network="cifar10")
    with pytest.raises(ConfigError, match="init_channels is 0; it must be at least"):
        tiny_config("s1", init_channels=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "nasi_ray.model/9"}, "this version reads 'nasi_ray.model/1'"),
        ({"num_classes": "ten"}, "model setting num_classes: input should be a valid integer"),
        ({"std": [1.0]}, "model setting std.1: field required"),
        ({"genotype": {}}, "not a DARTS genotype"),
        ({"space": "s9"}, "unknown space"),
    ],
)
def test_a_broken_configuration_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(tiny_config().to_dict() | change))
    with pytest.raises(DataError, match=message):
        load_model(open_storage(str(tmp_path)))


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    storage, config = open_storage(str(tmp_path)), tiny_config()
    with pytest.raises(DataError, match=r"has no model.json; give the run directory of a training"):
        load_model(storage)
    save_model(storage, trained(config).state_dict(), config)
    other = tiny_config(init_channels=5)
    storage.write("model.json", json.dumps(other.to_dict()).encode())
    with pytest.raises(DataError, match=r"belongs to another network than model\.json"):
        load_model(storage)
    storage.write("model.safetensors", safetensors.torch.save(trained(config).state_dict()))
    with pytest.raises(DataError, match=r"is not of the network in model.json: .*size mismatch"):
        load_model(storage)
    storage.write("model.safetensors", b"\0" * 20)
    with pytest.raises(DataError, match="is not a safetensors file"):
        load_model(storage)
    storage.delete("model.safetensors")
    with pytest.raises(DataError, match="but no model"):
        load_model(storage)
    storage.write("model.json", b"{")
    with pytest.raises(DataError, match="is not JSON"):
        load_model(storage)


@pytest.mark.integration
def test_models_are_trained_by_ddp_without_a_search_for_unused_parameters(tmp_path: Path) -> None:
    init = f"file://{tmp_path}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=init, rank=0, world_size=1)
    try:
        for config in (UNUSED_IN_DARTS, UNUSED_IN_NB201):
            net: Any = build_model(config)
            net.drop_path_prob = 0.5
            model = nn.parallel.DistributedDataParallel(net)
            for _ in range(2):  # the second pass fails if the first left a parameter out
                output = model(images(config))
                loss_of(output).backward()
    finally:
        torch.distributed.destroy_process_group()
