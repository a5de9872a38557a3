"""The one door through which all attention goes.

One mask rule: queries align to the END of the keys. With Tq queries on Tk keys, query i sees keys
0 … Tk - Tq + i. Prefill, a chunk on a cache and one-token decoding are then the same call.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vlm.models.branches import Branches, attend_branches, repeat_heads
from vlm.models.varlen import Segments, flash, packed, rows_packed, segment_bounds
from vlm.native.attention import one_token

Backend = Literal["flash", "varlen", "sdpa", "math", "eager"]
ROWS = 64  # see `_fill_up`
SCORES = 2**25  # pairs of query and key that the formula holds at once: 128 MiB in float32
BACKENDS: tuple[Backend, ...] = ("flash", "varlen", "sdpa", "eager")  # what may be asked for


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(Tq, Tk) bool, True where a query may look: the bottom-right rule above."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


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
        backend: ``flash`` (the flash-attn package), ``varlen`` (PyTorch's variable-length FlashAttention),
            ``sdpa`` (whichever kernel PyTorch picks; called ``math`` where a probe found that it has none
            but its plain formula) or ``eager`` (the formula written out). A mask of one's own goes through
            sdpa where the first two were asked for, and so does decoding one token with varlen.

    Returns:
        (B, H, Tq, d).
    """
    if isinstance(mask, Branches):
        return attend_branches(q, k, v, mask, partial(attend, causal=True, backend=backend))
    if backend == "flash" and mask is None:
        return flash(q, k, v, causal)
    if backend == "varlen" and mask is None and q.shape[2] > 1:
        return rows_packed(q, k, v, causal)
    if backend in ("eager", "math") and q.shape[2] > (most := _queries_at_once(q, k)):
        return _in_pieces(q, k, v, causal, mask, backend, most)
    if backend == "eager":
        return _eager(q, k, v, causal, mask)
    if mask is None and q.shape[2] < k.shape[2] and (causal or q.shape[2] == 1):
        return _chunk_on_cache(q, k, v)
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    if mask is not None or not causal:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    count = q.shape[2]
    q, k, v = (_fill_up(x) for x in (q, k, v))  # no real query sees the keys behind it
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, :count]


def attend_segments(q: Tensor, k: Tensor, v: Tensor, segments: Segments, backend: Backend = "sdpa") -> Tensor:
    """Full attention inside each segment of a packed sequence, none across.

    Args:
        q, k, v: (P, H, d), the segments laid end to end. flash and varlen take them all in one call; the
            others take equal neighbours in one call.

    Returns:
        (P, H, d).
    """
    if backend in ("flash", "varlen"):
        bounds, longest = segment_bounds(segments, q.device), max(length for _, length in segments)
        return packed(q, k, v, bounds, bounds, longest, longest, causal=False, backend=backend)
    outputs, start = [], 0
    for count, length in segments:
        stop = start + count * length
        run = [x[start:stop].unflatten(0, (count, length)).transpose(1, 2) for x in (q, k, v)]  # (N, H, L, d)
        outputs.append(attend(*run, causal=False, backend=backend).transpose(1, 2).flatten(0, 1))
        start = stop
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _queries_at_once(q: Tensor, k: Tensor) -> int:
    """So many that the formula's scores stay within `SCORES`; all of them while gradients are wanted."""
    return q.shape[2] if torch.is_grad_enabled() else max(1, SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))


def _in_pieces(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, backend: Backend, most: int
) -> Tensor:
    """A few queries at a time. By the bottom-right rule a piece ends where its last query's keys end."""
    out, behind = q.new_empty(*q.shape[:3], v.shape[3]), k.shape[2] - q.shape[2]
    for start in range(0, q.shape[2], most):
        stop = min(start + most, q.shape[2])
        seen = behind + stop if causal and mask is None else k.shape[2]
        own = mask[:, :, start:stop] if mask is not None and mask.shape[2] > 1 else mask
        piece = (q[:, :, start:stop], k[:, :, :seen], v[:, :, :seen])
        out[:, :, start:stop] = attend(*piece, causal=causal, mask=own, backend=backend)
    return out


def _chunk_on_cache(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of a chunk, or of one token, on earlier keys.

    The heads that share a key head become rows of one call, so keys are read once and never repeated. One
    token sees everything and needs no mask.
    """
    groups, count = q.shape[1] // k.shape[1], q.shape[2]
    rows = q.reshape(q.shape[0], k.shape[1], groups * count, q.shape[3])  # (B, Hkv, G * Tq, d)
    if count == 1 and (out := one_token(rows, k, v)) is not None:
        return out.view_as(q)
    if count == 1:
        return F.scaled_dot_product_attention(rows, k, v).view_as(q)
    filled = _fill_up(rows)
    bias = _causal_bias(groups, count, k.shape[2], filled.shape[2], q.dtype, q.device)
    out = F.scaled_dot_product_attention(filled, k, v, attn_mask=bias)
    return out[:, :, : groups * count].reshape(q.shape)


@lru_cache(maxsize=2)  # all layers of a chunk share it
def _causal_bias(
    groups: int, queries: int, keys: int, rows: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(rows, Tk): 0 where a query may look, else -inf, group after group; rows behind them see everything.

    Of a bool mask each layer would make this.
    """
    bias = torch.zeros(queries, keys, dtype=dtype, device=device)
    bias = bias.masked_fill_(~causal_mask(queries, keys, device), -torch.inf).repeat(groups, 1)
    return F.pad(bias, (0, 0, 0, rows - len(bias)))


def _fill_up(x: Tensor) -> Tensor:
    """(B, H, T, d) with zeros behind, up to a multiple of `ROWS`, where a CPU computes in 16 bits.

    PyTorch (2.13) keeps a compiled product for every new pair of query and key lengths, a third of a megabyte
    each, and never lets go; with query lengths in steps there are few of them (docs/decisions.md).
    """
    missing = -x.shape[2] % ROWS
    if not missing or x.device.type != "cpu" or x.dtype == torch.float32:
        return x  # `F.pad` would copy it
    return F.pad(x, (0, 0, 0, missing))


def _eager(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None) -> Tensor:
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, H, Tq, Tk)
    if mask is None and causal:
        mask = causal_mask(q.shape[2], k.shape[2], q.device)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v
