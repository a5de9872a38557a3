"""One token's attention on earlier keys, by attention.cpp where that fits."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from vlm.native.library import library, plain

SIZE = 128  # of a head


def one_token(q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    """q (1, Hkv, G, d) on k and v (1, Hkv, T, d) → (1, Hkv, G, d), or None where only PyTorch can do it."""
    one = plain(q) and q.shape[-1] == SIZE and len(q) == 1
    if not one or any(x.stride()[2:] != (SIZE, 1) for x in (k, v)) or not _works():
        return None
    return _call(q.contiguous(), k, v)


def _call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = torch.empty_like(q)
    library().one_token_attention(
        q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(),
        *q.shape[1:3], k.shape[2], k.stride(1), v.stride(1), SIZE**-0.5, torch.get_num_threads(),
    )  # fmt: skip
    return out


@cache
def _works() -> bool:
    """Whether there is such a function and it has the right numbers: asked with a small call."""
    if library() is None:
        return False
    q, k, v = (
        torch.linspace(-9, 9, 2 * n * SIZE).mul(1 + n).sin().view(1, 2, n, SIZE) for n in (3, 150, 151)
    )
    q, k, v = (x.bfloat16() for x in (q, k, v[:, :, 1:]))
    expected = (q.float() @ k.float().mT * SIZE**-0.5).softmax(-1) @ v.float()
    # The result, of at most 1, is rounded to bfloat16 once; scores of at most 12 are float32 sums.
    return bool((_call(q, k, v).float() - expected).abs().max() <= 2**-9 + 12 * 64 * 2**-23)
