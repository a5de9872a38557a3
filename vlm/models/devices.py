"""What a device has left, how it says that there is none, and how data get there."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on ``device``, or ``x`` itself where it lies there.

    To a GPU it goes from page-locked memory and nothing waits for it: what is computed from it waits in the
    GPU's own order, and PyTorch keeps the locked memory until it was read.
    """
    if device.type != "cuda" or x.device.type == "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def free_bytes(device: torch.device | str) -> int:
    """Bytes that can still be taken: the GPU's, or this machine's (in a container, the container's)."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + _unused_cuda(device)
    free = psutil.virtual_memory().available
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    return free if limit is None or used is None else max(0, min(free, limit - used))


def peak_bytes(device: torch.device | str) -> int | None:
    """The most that was in use at once: tensors on the GPU, or the whole process; None where unknown."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:  # not getrusage, which starts from the peak of the process that started this one
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux
        return None
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status).group(1))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is PyTorch's or Python's way to say that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)  # the CPU allocator raises a bare RuntimeError
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text
    )


def release(device: torch.device | str) -> None:
    """Give memory that nobody holds any more back to the device."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


def _unused_cuda(device: torch.device) -> int:
    """What PyTorch holds of the GPU without using it."""
    return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _cgroup(name: str) -> int | None:
    try:
        text = (_CGROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
