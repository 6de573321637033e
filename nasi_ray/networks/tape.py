"""What a pass through a network computed, for a second pass through the same network.

The exact gradient goes along the sampled path twice, with tangents the second time. The values
are the same, so operations that have a slot on the tape compute their tangents only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Slot:
    """Values of one call of an operation, from the pass that computed them to the next.

    The next takes them away, so that they are freed when it has used them.
    """

    call: tuple[object, ...]
    outputs: tuple[Tensor, ...] = ()
    backward: tuple[Tensor, ...] = ()

    def take_outputs(self) -> tuple[Tensor, ...]:
        """What the forward pass left, if anything."""
        taken, self.outputs = self.outputs, ()
        return taken

    def take_backward(self) -> tuple[Tensor, ...]:
        """What the backward pass left, if anything."""
        taken, self.backward = self.backward, ()
        return taken


class Tape:
    """Slots in the order of the calls, which must be the same in every pass."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []
        self._position = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """A pass, from the first call on."""
        self._position = 0
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def advance(self, call: tuple[object, ...]) -> Slot:
        """The slot of the next call.

        Args:
            call: What distinguishes it: operation and shapes.

        Raises:
            RuntimeError: If an earlier pass made another call in its place.
        """
        if self._position == len(self._slots):
            self._slots.append(Slot(call))
        slot = self._slots[self._position]
        if slot.call != call:
            raise RuntimeError(
                f"call {self._position} of a second pass is {call}, and was {slot.call}; the "
                "operations of a network must be called in the same order in every pass"
            )
        self._position += 1
        return slot


_current: ContextVar[Tape | None] = ContextVar("_current", default=None)


def next_slot(*call: object) -> Slot | None:
    """The slot of this call, if there is a tape and the call is part of a pass.

    Calls without a graph are not: they evaluate candidates beside the path.

    Args:
        call: See ``Tape.advance``.

    Raises:
        RuntimeError: See ``Tape.advance``.
    """
    tape = _current.get()
    return tape.advance(call) if tape is not None and torch.is_grad_enabled() else None
