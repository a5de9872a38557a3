"""Rotary position embeddings: two axes in the tower, three (M-RoPE) in the decoder.

Sources: RoPE (arXiv 2104.09864), M-RoPE (Qwen2-VL, arXiv 2409.12191 §2.1) and its interleaved form
(Qwen3-VL, arXiv 2511.21631 §2). Angles are always float32: bfloat16 cannot tell positions above 256 apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vlm.native import rows


def inverse_frequencies(dim: int, theta: float, device: torch.device | None = None) -> Tensor:
    """(dim / 2,) float32: one rotation speed for each pair of channels."""
    return theta ** -(torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + d/2) of the last axis. cos and sin broadcast to x; float32 inside."""
    if (out := rows.rotate(x, cos, sin)) is not None:
        return out
    x32, half = x.float(), x.shape[-1] // 2
    sin = sin[..., :half]  # both halves are equal
    out = x32 * cos
    out[..., :half].addcmul_(x32[..., half:], sin, value=-1)
    out[..., half:].addcmul_(x32[..., :half], sin)
    return out.to(x.dtype)


def mrope_axes(section: tuple[int, int, int], interleaved: bool) -> Tensor:
    """Which axis (0 t, 1 h, 2 w) turns each rotary frequency; (d/2,) int64.

    Blocked: the first ``section[0]`` frequencies belong to t, then h, then w. Interleaved: t h w t h w …
    until the h and w shares are used up; what is left belongs to t.
    """
    if not interleaved:
        return torch.repeat_interleave(torch.arange(3), torch.tensor(section))
    axes = torch.zeros(sum(section), dtype=torch.int64)
    for axis in (1, 2):
        axes[axis : section[axis] * 3 : 3] = axis
    return axes


def mrope_table(positions: Tensor, frequencies: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin, each (B, 1, T, d) float32, from (3, B, T) position ids.

    Args:
        frequencies: (d/2,) from `inverse_frequencies`. axes: (d/2,) from `mrope_axes`.
    """
    angles = positions[axes].permute(1, 2, 0).float() * frequencies  # (B, T, d/2)
    angles = torch.cat((angles, angles), dim=-1)[:, None]  # (B, 1, T, d)
    return angles.cos(), angles.sin()


def vision_table(coordinates: Tensor, head_dim: int, theta: float = 1e4) -> tuple[Tensor, Tensor]:
    """cos and sin, each (P, 1, d) float32, from (P, 2) patch coordinates (row, column)."""
    frequencies = inverse_frequencies(head_dim // 2, theta, coordinates.device)
    angles = (coordinates.float()[..., None] * frequencies).flatten(1)  # (P, d/2): rows, then columns
    angles = torch.cat((angles, angles), dim=-1)[:, None]  # (P, 1, d)
    return angles.cos(), angles.sin()
