"""A matrix times one vector, by vector.cpp where that fits."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from vlm.native.library import library

LANES = 32  # bfloat16 numbers in a register


def matrix_vector(matrix: Tensor, x: Tensor) -> Tensor:
    """(N, K) times (K,) → (N,), as `torch.mv`, for tensors in bfloat16 on a CPU that want no gradient."""
    if x.shape[0] % LANES or not matrix.is_contiguous() or not _works():
        return torch.mv(matrix, x)
    return _call(matrix, x)


def _call(matrix: Tensor, x: Tensor) -> Tensor:
    x, out = x.contiguous(), x.new_empty(len(matrix))
    library().matrix_vector(
        matrix.data_ptr(), *matrix.shape, x.data_ptr(), out.data_ptr(), torch.get_num_threads()
    )
    return out


@cache
def _works() -> bool:
    """Whether there is such a function and it has the right numbers: asked with a small call."""
    if library() is None:
        return False
    matrix, x = (torch.linspace(-9, 9, n * 96).mul(1 + n).sin().view(n, 96).bfloat16() for n in (19, 1))
    expected = matrix.float() @ x[0].float()
    # The result, of at most 96, is rounded to bfloat16 once; sums of 96 terms in float32.
    return bool((_call(matrix, x[0]).float() - expected).abs().max() <= 96 * (2**-9 + 96 * 2**-23))
