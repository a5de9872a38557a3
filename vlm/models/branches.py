"""Many questions about one picture in one row of tokens: prefixes, and branches behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Branches:
    """A layout for many questions about one picture: prefixes laid end to end, then branches behind them.

    The one row of tokens holds ``prefixes`` (B, P) first and (N, L) branches after it. A branch sees of its
    own prefix and of itself what ``mask`` allows; a prefix is causal and sees no branch.
    """

    prefixes: tuple[int, int]  # (B, P)
    owner: Tensor  # (N,) int64: the prefix of each branch
    mask: Tensor  # (N, 1, L, P + L) bool, True where a branch may look


def attend_branches(
    q: Tensor, k: Tensor, v: Tensor, layout: Branches, attend_causally: Callable[..., Tensor]
) -> Tensor:
    """Two calls instead of one square one: most pairs of a packed row may not see each other."""
    count, length = layout.prefixes
    cut = count * length
    q0, k0, v0 = (_fold(x[0, :, :cut], count, length) for x in (q, k, v))  # (B, H, P, d)
    trunk = attend_causally(q0, k0, v0)
    if len(layout.owner) == 0:
        return _unfold(trunk)[None]
    branches = layout.mask.shape[0], layout.mask.shape[2]
    q1, k1, v1 = (_fold(x[0, :, cut:], *branches) for x in (q, k, v))  # (N, H, L, d)
    k1, v1 = (torch.cat((x0[layout.owner], x1), dim=2) for x0, x1 in ((k0, k1), (v0, v1)))
    leaves = biased(q1, k1, v1, layout.mask)
    return torch.cat((_unfold(trunk), _unfold(leaves)), dim=1)[None]


def biased(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The formula with the mask added, all in the tensors' own dtype (softmax itself sums in float32)."""
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, torch.finfo(q.dtype).min / 2)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (N, H, L, P + L)
    return scores.add_(bias).softmax(-1) @ v


def _fold(x: Tensor, count: int, length: int) -> Tensor:
    """(H, N * L, d) → (N, H, L, d)."""
    return x.unflatten(1, (count, length)).transpose(0, 1)


def _unfold(x: Tensor) -> Tensor:
    """(N, H, L, d) → (H, N * L, d)."""
    return x.transpose(0, 1).flatten(1, 2)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """(B, Hkv, T, d) → (B, H, T, d); query head h reads key head h // (H / Hkv)."""
    groups = heads // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)
