"""What lies between a layer's products, by rows.cpp where that fits; None where only PyTorch can do it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from vlm.native.library import library, plain

LANES = 16  # numbers that are taken at once


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor | None:
    """(…, K) over its root mean square, times (K,), as `vlm.models.layers.RMSNorm`."""
    if not (plain(x) and weight.dtype == x.dtype) or len(weight) % LANES or not _works():
        return None
    return _rms_norm(x.contiguous(), weight, eps)


def silu_times(gate: Tensor, up: Tensor) -> Tensor | None:
    """silu(gate) · up of two tensors of one shape that lie alike, row by row or column by column."""
    if not plain(gate) or not _works():
        return None
    dense = gate.is_contiguous() or gate.mT.is_contiguous()
    alike = dense and gate.stride() == up.stride() and gate.dtype == up.dtype
    if not alike or gate.numel() % LANES:
        return None
    return _silu_times(gate, up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor | None:
    """As `vlm.models.rope.rotate`, for (B, H, T, d) that lies token by token, or (P, H, d)."""
    if not plain(x) or not _works():
        return None
    tokens = x.transpose(1, 2).flatten(0, 1) if x.dim() == 4 else x  # (P, H, d)
    tables = cos.is_contiguous() and sin.is_contiguous() and cos.dtype == sin.dtype == torch.float32
    lies = tokens.dim() == 3 and tokens.stride()[1:] == (x.shape[-1], 1) and x.shape[-1] % 2 == 0
    if not (lies and tables and cos.numel() == sin.numel() == tokens[:, 0].numel()):
        return None
    out = _rotate(tokens, cos, sin)
    return out.view(x.transpose(1, 2).shape).transpose(1, 2) if x.dim() == 4 else out


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    out, width = torch.empty_like(x), len(weight)
    library().rms_norm(
        x.data_ptr(),
        weight.data_ptr(),
        out.data_ptr(),
        x.numel() // width,
        width,
        eps,
        torch.get_num_threads(),
    )
    return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out = x.new_empty(x.shape)
    library().rotate(
        x.data_ptr(), x.stride(0), cos.data_ptr(), sin.data_ptr(), out.data_ptr(),
        *x.shape, torch.get_num_threads(),
    )  # fmt: skip
    return out


def _silu_times(gate: Tensor, up: Tensor) -> Tensor:
    out = torch.empty_like(gate)
    library().silu_times(
        gate.data_ptr(), up.data_ptr(), out.data_ptr(), gate.numel(), torch.get_num_threads()
    )
    return out


@cache
def _works() -> bool:
    """Whether there are such functions and they have the right numbers: asked with small calls."""
    if library() is None:
        return False
    x, other = (torch.linspace(-9, 9, n * 6 * 48).mul(n).sin().mul(4).bfloat16() for n in (1, 2))
    x, other, weight = x.view(3, 2, 48), other.view(-1)[: 3 * 2 * 48].view(3, 2, 48), other[-48:]
    angles = torch.linspace(0, 6, 3 * 24).view(3, 1, 24).repeat(1, 1, 2)
    wide, turned = x.float(), torch.cat((-x[..., 24:], x[..., :24]), dim=-1).float()
    pairs = (
        (_rms_norm(x, weight, 1e-6), wide / wide.square().mean(-1, keepdim=True).sqrt() * weight.float()),
        (_rotate(x, angles.cos(), angles.sin()), wide * angles.cos() + turned * angles.sin()),
        (_silu_times(x, other), wide * wide.sigmoid() * other.float()),
    )
    # Numbers of at most 28, rounded to bfloat16 twice, and once again a float32 sum of 48 terms.
    return all((own.float() - right).abs().max() <= 28 * (2**-7 + 48 * 2**-23) for own, right in pairs)
