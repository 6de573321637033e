"""The processes that train one network together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch import distributed as dist

from nasi_ray.progress import Progress

Wish = Literal["go", "save", "stop"]


class Link(Progress, Protocol):
    """What connects the loop with whoever started it."""

    def check(self, seconds_per_step: float) -> tuple[Wish, int]:
        """Ask whether to save, or to save and stop; all ranks ask at the same steps.

        Args:
            seconds_per_step: How long a step takes here.

        Returns:
            The same on all ranks: what to do, and after how many steps (≥ 1) to ask again.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among those that train; torch's process group exists if there are several."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and shows progress."""
        return self.rank == 0

    def gather(self, values: Tensor) -> Tensor:
        """The values of every rank, shape (size, *values.shape), on the CPU, bit for bit."""
        if self.size == 1:
            return values.detach().cpu()[None]
        parts = [torch.empty_like(values, device=self.device) for _ in range(self.size)]
        dist.all_gather(parts, values.detach().to(self.device).contiguous())
        return torch.stack(parts).cpu()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks, in the order of the ranks."""
        return self.gather(values).sum(0)

    def broadcast(self, data: bytes | None) -> bytes | None:
        """What the first rank has, on all ranks."""
        if self.size == 1:
            return data
        length = torch.tensor([-1 if data is None else len(data)], device=self.device)
        dist.broadcast(length, 0)
        if int(length) < 0:
            return None
        if self.is_first:
            buffer = torch.frombuffer(bytearray(data or b""), dtype=torch.uint8).to(self.device)
        else:
            buffer = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        if int(length):
            dist.broadcast(buffer, 0)
        return buffer.cpu().numpy().tobytes()
