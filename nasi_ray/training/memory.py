"""Whether a network in training fits the memory, estimated before it is built."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasi_ray.display.formats import format_bytes
from nasi_ray.errors import ConfigError
from nasi_ray.training.model import ModelConfig, make_on_meta
from nasi_ray.training.recipes import TrainingConfig


def refuse_too_large(
    model: ModelConfig, config: TrainingConfig, micro_batch_size: int, device: torch.device
) -> None:
    """Refuse a network that takes more memory than there is free on a device.

    Raises:
        ConfigError: If it does, by estimate.
    """
    free = free_memory(device)
    if free is None:
        return
    needed = estimated_memory(model, config, micro_batch_size, device)
    if needed > free:
        where = "GPU" if device.type == "cuda" else "machine"
        raise ConfigError(
            f"C={model.init_channels} with {micro_batch_size} images at a time needs about "
            f"{format_bytes(needed)} of memory, and the {where} has {format_bytes(free)} free; "
            "lower --init-channels, or give a smaller --micro-batch-size"
        )


def estimated_memory(
    model: ModelConfig, config: TrainingConfig, micro_batch_size: int, device: torch.device
) -> int:
    """Bytes of parameters with gradients, optimizer and average, and of kept activations."""
    net = make_on_meta(model).train()
    sizes: list[int] = []

    def count(module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output[0].numel())

    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        net(torch.empty((2, 3, model.image_size, model.image_size), device="meta"))
    num_params = sum(parameter.numel() for parameter in net.parameters())
    copies = 3 + (config.optimizer not in ("momentum", "sgd")) + (config.ema_decay > 0)
    is_half = config.amp in ("bfloat16", "float16") or (
        config.amp == "auto" and device.type == "cuda"
    )
    return 4 * copies * num_params + (2 if is_half else 4) * micro_batch_size * sum(sizes)


def free_memory(device: torch.device) -> int | None:
    """Bytes free on a device; None if it is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
