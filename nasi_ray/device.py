"""Devices and number types by name, and the settings of a process that evaluates on them."""

from __future__ import annotations

import ctypes
import os
import socket
import sys

import torch

from nasi_ray.errors import ConfigError

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def prepare_process(device: str, threads: int) -> None:
    """Set up this process: what decides the bits of a result, and how fast it is computed.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: CPU threads torch may use (≥ 1).
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    if device == "cuda":
        _make_cuda_repeatable()


def device_kind(device: torch.device) -> str:
    """What decides the bits of a result: the GPU's model, or the CPU's vector instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


def resolve_device(device: str) -> torch.device:
    """``cpu`` or ``cuda`` as a device.

    Raises:
        ConfigError: If it is neither, or torch sees no GPU.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device is {device!r}; it must be cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device is cuda, but torch {torch.__version__} sees no GPU on {socket.gethostname()}; "
            "use --device cpu, or a torch built for this machine's driver"
        )
    return torch.device(device)


def _make_cuda_repeatable() -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # TF32 keeps 10 bits of the mantissa: it is not the float32 that was asked for.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _keep_freed_memory() -> None:
    """Let glibc keep freed tensors; giving them back costs a tenth of the time in page faults."""
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # A libc that refuses the second setting would be slower with the first one alone.
    if mallopt is not None and mallopt(mmap_threshold, 2**30):
        mallopt(trim_threshold, 2**31 - 1)
