"""Variable-length attention on CUDA: many segments of different lengths in one call.

From the flash-attn package, or PyTorch's own (`torch.nn.attention.varlen`). Importing either takes seconds,
so only a call, or the probe on a GPU, does it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import torch
from torch import Tensor

# A run of (count, length): `count` neighbouring segments of `length` tokens each.
Segments = tuple[tuple[int, int], ...]


@cache
def flash_functions() -> tuple[Callable, Callable] | None:
    """``flash_attn_func`` and ``flash_attn_varlen_func`` of the package in requirements-gpu.txt."""
    try:
        from flash_attn import flash_attn_func, flash_attn_varlen_func
    except ImportError:
        return None
    return flash_attn_func, flash_attn_varlen_func


@cache
def varlen_function() -> Callable | None:
    """``varlen_attn``: PyTorch's own since 2.10, with grouped heads since 2.12."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@lru_cache(maxsize=64)
def segment_bounds(segments: Segments, device: torch.device) -> Tensor:
    """(N + 1,) int32: where each of the N segments starts, and where the last one ends."""
    lengths = [0, *(length for count, length in segments for _ in range(count))]
    return torch.tensor(lengths).cumsum(0).to(device, torch.int32)


def packed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_bounds: Tensor,
    k_bounds: Tensor,
    longest_q: int,
    longest_k: int,
    *,
    causal: bool,
    backend: str,
) -> Tensor:
    """Segments of (P, H, d) queries on segments of (Pk, Hkv, d) keys; causal is bottom-right in each."""
    bounds = (q_bounds, k_bounds, longest_q, longest_k)
    if backend == "flash":
        return flash_functions()[1](q, k, v, *bounds, causal=causal)
    grouped = q.shape[1] != k.shape[1]
    return varlen_function()(q, k, v, *bounds, window_size=(-1, 0 if causal else -1), enable_gqa=grouped)


def rows_packed(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """(B, H, Tq, d) through the variable-length call, each row of the batch a segment."""
    batch, _, queries, _ = q.shape
    keys = k.shape[2]
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # (B * T, H, d)
    bounds = [segment_bounds(((batch, length),), q.device) for length in (queries, keys)]
    out = packed(q, k, v, *bounds, queries, keys, causal=causal, backend="varlen")
    return out.unflatten(0, (batch, queries)).transpose(1, 2)


def flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """flash-attn 2.1 and later: tokens before heads, grouped heads as they are, bottom-right causal rule."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return flash_functions()[0](q, k, v, causal=causal).transpose(1, 2)
