"""The one door through which all attention goes.

One mask rule: queries align to the END of the keys. With Tq queries on Tk keys, query i sees keys
0 … Tk - Tq + i. Prefill, a chunk on a cache and one-token decoding are then the same call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vlm.records import InputError

try:  # optional: requirements-gpu.txt
    from flash_attn import flash_attn_func
except ImportError:
    flash_attn_func = None

Backend = Literal["flash", "sdpa", "eager"]
BACKENDS: tuple[Backend, ...] = ("flash", "sdpa", "eager")

# A run of (count, length): `count` neighbouring segments of `length` tokens each.
Segments = tuple[tuple[int, int], ...]


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(Tq, Tk) bool, True where a query may look: the bottom-right rule above."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


@dataclass(frozen=True)
class Branches:
    """A layout for many questions about one picture: prefixes laid end to end, then branches behind them.

    The one row of tokens holds ``prefixes`` (B, P) first and (N, L) branches after it. A branch sees of its
    own prefix and of itself what ``mask`` allows; a prefix is causal and sees no branch.
    """

    prefixes: tuple[int, int]  # (B, P)
    owner: Tensor  # (N,) int64: the prefix of each branch
    mask: Tensor  # (N, 1, L, P + L) bool, True where a branch may look


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool,
    mask: Tensor | Branches | None = None,
    backend: Backend = "sdpa",
) -> Tensor:
    """Scaled dot-product attention with grouped key/value heads.

    Args:
        q: (B, H, Tq, d). k, v: (B, Hkv, Tk, d) with H a multiple of Hkv.
        causal: apply the bottom-right rule.
        mask: bool, broadcastable to (B, 1, Tq, Tk), True where a query may look; replaces ``causal``.
            Or a layout of branches, with B = 1 and Tq = Tk.
        backend: ``flash`` (the flash-attn package), ``sdpa`` (PyTorch's fused kernels) or ``eager`` (the
            formula written out). A mask of one's own goes through sdpa where flash was asked for.

    Returns:
        (B, H, Tq, d).
    """
    if isinstance(mask, Branches):
        return _attend_branches(q, k, v, mask, backend)
    if backend == "flash" and mask is None:
        return _flash(q, k, v, causal)
    if mask is None and causal and q.shape[2] > 1 and q.shape[2] != k.shape[2]:
        mask = causal_mask(q.shape[2], k.shape[2], q.device)
    if backend == "eager":
        return _eager(q, k, v, causal, mask)
    if q.shape[2] == 1 and mask is None:
        return _one_query(q, k, v)
    k, v = _repeat_heads(k, q.shape[1]), _repeat_heads(v, q.shape[1])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and mask is None)


def resolve_backend(wanted: Backend | str, device: torch.device, dtype: torch.dtype) -> Backend:
    """The backend to use on a device: ``auto`` takes flash where a probe of it succeeds, else sdpa.

    Raises:
        InputError: an unknown name, or flash was asked for and does not run here.
    """
    if wanted not in (*BACKENDS, "auto"):
        raise InputError(f"attention {wanted!r} is not known: use auto, {', '.join(BACKENDS)}")
    if wanted not in ("flash", "auto"):
        return wanted
    reason = _why_no_flash(device, dtype)
    if reason is None:
        return "flash"
    if wanted == "flash":
        raise InputError(f"attention flash does not run here ({reason}): use --attention auto")
    return "sdpa"


def _why_no_flash(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cuda":
        return "it needs a CUDA GPU"
    if flash_attn_func is None:
        return "the flash-attn package is not installed"
    try:
        probe = torch.zeros(1, 1, 8, 64, device=device, dtype=dtype)
        _flash(probe, probe, probe, causal=True)
    except Exception as error:  # whatever the kernel raises, it means the same: not on this GPU
        return str(error).splitlines()[0]
    return None


def attend_segments(q: Tensor, k: Tensor, v: Tensor, segments: Segments, backend: Backend = "sdpa") -> Tensor:
    """Full attention inside each segment of a packed sequence, none across.

    Args:
        q, k, v: (P, H, d), the segments laid end to end. Equal neighbours go through one call.

    Returns:
        (P, H, d).
    """
    outputs, start = [], 0
    for count, length in segments:
        stop = start + count * length
        run = [x[start:stop].unflatten(0, (count, length)).transpose(1, 2) for x in (q, k, v)]  # (N, H, L, d)
        outputs.append(attend(*run, causal=False, backend=backend).transpose(1, 2).flatten(0, 1))
        start = stop
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attend_branches(q: Tensor, k: Tensor, v: Tensor, layout: Branches, backend: Backend) -> Tensor:
    """Two calls instead of one square one: most pairs of a packed row may not see each other."""
    count, length = layout.prefixes
    cut = count * length
    q0, k0, v0 = (_fold(x[0, :, :cut], count, length) for x in (q, k, v))  # (B, H, P, d)
    trunk = attend(q0, k0, v0, causal=True, backend=backend)
    if len(layout.owner) == 0:
        return _unfold(trunk)[None]
    branches = layout.mask.shape[0], layout.mask.shape[2]
    q1, k1, v1 = (_fold(x[0, :, cut:], *branches) for x in (q, k, v))  # (N, H, L, d)
    k1, v1 = (torch.cat((x0[layout.owner], x1), dim=2) for x0, x1 in ((k0, k1), (v0, v1)))
    leaves = _biased(q1, k1, v1, layout.mask)
    return torch.cat((_unfold(trunk), _unfold(leaves)), dim=1)[None]


@torch.compiler.disable
def _biased(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The formula with the mask added, all in the tensors' own dtype (softmax itself sums in float32).

    Outside of compiled blocks: on a CPU PyTorch's own softmax is several times as fast as the fused loop.
    """
    k, v = _repeat_heads(k, q.shape[1]), _repeat_heads(v, q.shape[1])
    bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, torch.finfo(q.dtype).min / 2)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (N, H, L, P + L)
    return scores.add_(bias).softmax(-1) @ v


def _fold(x: Tensor, count: int, length: int) -> Tensor:
    """(H, N * L, d) → (N, H, L, d)."""
    return x.unflatten(1, (count, length)).transpose(0, 1)


def _unfold(x: Tensor) -> Tensor:
    """(N, H, L, d) → (H, N * L, d)."""
    return x.transpose(0, 1).flatten(1, 2)


def _flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """flash-attn 2.1 and later: tokens before heads, grouped heads as they are, bottom-right causal rule."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return flash_attn_func(q, k, v, causal=causal).transpose(1, 2)


def _repeat_heads(x: Tensor, heads: int) -> Tensor:
    """(B, Hkv, T, d) → (B, H, T, d); query head h reads key head h // (H / Hkv)."""
    groups = heads // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


def _one_query(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Decoding: the heads that share a key head become rows of one call, so keys are read once."""
    grouped = q.view(q.shape[0], k.shape[1], -1, q.shape[3])  # (B, Hkv, G, d)
    return F.scaled_dot_product_attention(grouped, k, v).view_as(q)


def _eager(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None) -> Tensor:
    k, v = _repeat_heads(k, q.shape[1]), _repeat_heads(v, q.shape[1])
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, H, Tq, Tk)
    if mask is None and causal:
        mask = causal_mask(q.shape[2], k.shape[2], q.device)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v
