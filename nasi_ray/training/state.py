"""A network in training: everything that a step changes, and how it is saved and restored."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from timm.utils.distributed import distribute_bn
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nasi_ray.networks.genotype_network import GenotypeNetwork
from nasi_ray.seeding import torch_seed
from nasi_ray.training.checkpoints import State
from nasi_ray.training.model import ModelConfig, build_model
from nasi_ray.training.optimization import make_optimizer
from nasi_ray.training.recipes import TrainingConfig
from nasi_ray.training.world import World

_AMP_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TrainState:
    """The network, its moving average, the optimizer and the gradient scaler."""

    def __init__(
        self, model: ModelConfig, config: TrainingConfig, world: World, *, compile: bool
    ) -> None:
        self._config, self._world = config, world
        net = build_model(model, seed=torch_seed(config.seed, "weights"))
        # Depthwise convolutions of torch are several times faster so, on CPUs as on GPUs.
        net = net.to(world.device).to(memory_format=torch.channels_last)
        if config.sync_bn and world.size > 1:
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        self.net = net
        """The plain network: its state has no prefix of a wrapper."""
        self.optimizer = make_optimizer(net, config)
        self.ema = ModelEmaV3(net, decay=config.ema_decay) if config.ema_decay else None
        self.amp = amp_type(config, world.device)
        self.scaler = torch.amp.GradScaler(
            world.device.type, enabled=self.amp is torch.float16 and world.device.type == "cuda"
        )
        self._compile = compile
        self._own_buffers: Tensor | None = None
        self.model: nn.Module = net
        """What is called in training; compiled and distributed once ``wrap`` is called."""

    def wrap(self) -> None:
        """Compile and distribute the network, after its state is restored."""
        # DDP has to be outside: it then overlaps communication with the compiled backward pass.
        self.model = torch.compile(self.net) if self._compile else self.net  # type: ignore[assignment]
        if self._world.size > 1:
            device = self._world.device
            self.model = DistributedDataParallel(
                self.model,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=self._config.dist_bn == "broadcast",
                gradient_as_bucket_view=True,
            )
        if self._own_buffers is not None:  # DDP has given all ranks those of the first
            self._set_buffers(self._own_buffers)

    def set_drop_path(self, prob: float) -> None:
        """Set the probability of dropping an operation; benchmarks' networks drop none."""
        if isinstance(self.net, GenotypeNetwork):
            self.net.drop_path_prob = prob

    @property
    def tested(self) -> nn.Module:
        """What is tested and kept: the moving average, if there is one."""
        return self.net if self.ema is None else self.ema.module

    def autocast(self) -> AbstractContextManager[None]:
        """The arithmetic of the recipe."""
        if self.amp is None:
            return nullcontext()
        return torch.autocast(self._world.device.type, dtype=self.amp)

    def without_sync(self) -> AbstractContextManager[None]:
        """Gradients stay on this rank while the context is open."""
        if isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def unify_statistics(self) -> None:
        """Give all ranks the same running statistics, as the recipe says."""
        if self._world.size > 1:
            for net in self._networks():
                distribute_bn(net, self._world.size, reduce=self._config.dist_bn == "reduce")

    def save(self) -> State:
        """Everything that a step changes; all ranks call it, the first one's is kept."""
        return {
            "model": self.net.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            # Within an epoch each rank has running statistics of its own.
            "buffers": self._world.gather(self._flat_buffers()) if self._world.size > 1 else None,
        }

    def restore(self, state: State) -> None:
        """Take over what ``save`` returned."""
        self.net.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        buffers = state["buffers"]
        if buffers is not None and len(buffers) == self._world.size:
            self._own_buffers = buffers[self._world.rank]

    def _networks(self) -> list[nn.Module]:
        return [self.net] if self.ema is None else [self.net, self.ema.module]

    def _buffers(self) -> list[Tensor]:
        every = (buffer for net in self._networks() for buffer in net.buffers())
        return [buffer for buffer in every if buffer.is_floating_point()]

    def _flat_buffers(self) -> Tensor:
        flat = [buffer.detach().reshape(-1) for buffer in self._buffers()]
        return torch.cat(flat) if flat else torch.empty(0)

    def _set_buffers(self, flat: Tensor) -> None:
        parts = flat.split([buffer.numel() for buffer in self._buffers()])
        for buffer, part in zip(self._buffers(), parts, strict=True):
            buffer.copy_(part.view_as(buffer))


def amp_type(config: TrainingConfig, device: torch.device) -> torch.dtype | None:
    """Type of autocast; None: float32 throughout."""
    if config.amp == "auto":
        return torch.bfloat16 if device.type == "cuda" else None
    return _AMP_TYPES.get(config.amp)
