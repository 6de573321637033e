"""Why a worker, a call or a sample failed, in one line."""

from __future__ import annotations

import re

from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayTaskError

_MAX_LENGTH = 300
_RAISED = re.compile(r"[\w.]*(Error|Exception): ")


def one_line(error: BaseException) -> str:
    """The exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text[:_MAX_LENGTH]


def loss_reason(error: BaseException) -> str:
    """Why a call to a worker failed, from what Ray raised."""
    if isinstance(error, RayTaskError):
        return one_line(error.cause)
    if isinstance(error, OutOfMemoryError):
        return "the worker was killed because its node ran out of memory"
    if isinstance(error, ActorUnavailableError):
        return "the worker's node cannot be reached"
    if isinstance(error, RayActorError):
        return f"the worker died ({_death_cause(str(error))})"
    return one_line(error)


def _death_cause(message: str) -> str:
    # Ray's message is a sentence, then indented facts, then what happened.
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    raised = [line for line in lines if _RAISED.match(line)]
    if raised:
        last = raised[-1]
        if "No module named 'nasi_ray" in last:
            last += "; install nasi_ray on the nodes, or submit with cluster/runtime-env.json"
        return last[:_MAX_LENGTH]
    prose = [line for line in lines[1:] if not line.partition(" ")[0].endswith(":")]
    return (prose or lines or ["unknown cause"])[0].rstrip(".")[:_MAX_LENGTH]
