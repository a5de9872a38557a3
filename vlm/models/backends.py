"""Which attention backend runs on a device and gives the formula's numbers."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vlm.models.attention import BACKENDS, Backend, attend, attend_segments
from vlm.models.varlen import flash_functions, varlen_function
from vlm.records import InputError

FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


def resolve_backend(
    wanted: Backend | str, device: torch.device, dtype: torch.dtype, heads: tuple[int, ...] = (64, 128)
) -> Backend:
    """The backend to use on a device.

    ``auto`` takes the first of flash, varlen and sdpa that runs there and gives the formula's numbers; of
    sdpa that holds for its fused kernels, and without them its name is math.

    Args:
        heads: head sizes that the model will use, in the tower and in the decoder.

    Raises:
        InputError: an unknown name, or a backend was asked for that does not run here.
    """
    if wanted not in (*BACKENDS, "auto"):
        raise InputError(f"attention {wanted!r} is not known: use auto, {', '.join(BACKENDS)}")
    for backend in ("flash", "varlen"):
        if wanted not in (backend, "auto"):
            continue
        reason = _why_not(backend, device, dtype, heads)
        if reason is None:
            return backend
        if wanted == backend:
            raise InputError(f"attention {backend} does not run here ({reason}): use --attention auto")
    if wanted == "eager":
        return wanted
    with sdpa_kernel(FUSED):
        fused = all(probe("sdpa", device, dtype, size, own_masks=False) is None for size in heads)
    return "sdpa" if fused else "math"


def _why_not(
    backend: Backend, device: torch.device, dtype: torch.dtype, heads: tuple[int, ...]
) -> str | None:
    if device.type != "cuda":
        return "it needs a CUDA GPU"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or later"
    if backend == "flash" and flash_functions() is None:
        return "the flash-attn package is not installed"
    if backend == "varlen" and varlen_function() is None:
        return "this PyTorch has no torch.nn.attention.varlen"
    return next((reason for size in heads if (reason := probe(backend, device, dtype, size))), None)


def probe(
    backend: Backend, device: torch.device, dtype: torch.dtype, head: int, own_masks: bool = True
) -> str | None:
    """Run small calls of every kind that the models make; None if they agree with the formula in float32.

    ``own_masks`` False leaves out queries that are fewer than the keys, for which sdpa needs a mask.

    The result rounds to ``dtype`` twice, the softmax weights and the output, each by half an eps of the
    largest value; twice that is allowed for. The scores are float32 sums of at most 128 terms: 64 of its eps.
    """
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 8, head, generator=generator).to(device, dtype) for n in (4, 2, 2))
    runs = ((2, 3), (1, 2))
    x = [part[0].transpose(0, 1).contiguous() for part in (q, q.flip(2), q.flip(3))]  # (P, H, d) each
    try:
        pairs = [
            (
                attend(q[:, :, :queries], k, v, causal=True, backend=backend),
                attend(q[:, :, :queries].float(), k.float(), v.float(), causal=True, backend="eager"),
            )
            for queries in ((1, 3, 8) if own_masks else (1, 8))
        ]
        exact = attend_segments(*(part.float() for part in x), runs, "eager")
        pairs.append((attend_segments(*x, runs, backend), exact))
        worst = max((got.float() - expected).abs().max().item() for got, expected in pairs)
    except Exception as error:  # whatever the kernel raises, it means the same: not on this GPU
        return (str(error) or type(error).__name__).splitlines()[0]
    eps = 2 * torch.finfo(dtype).eps + 64 * torch.finfo(torch.float32).eps
    bound = eps * max(v.abs().max().item(), x[2].abs().max().item())
    return None if worst <= bound else f"it differs from the formula by {worst:.2g}, more than {bound:.2g}"
