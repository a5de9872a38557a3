"""The one linear layer, and the order of a product that suits how many rows there are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlm.native.library import plain
from vlm.native.vector import matrix_vector

FEW = 256  # rows; up to here a CPU loses time by rearranging the weight instead of the rows


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, K) → (…, N), as `F.linear`.

    A CPU in 16 bits rearranges the right factor of a product before it starts. For `F.linear` that is the
    weight, and with few rows it takes longer than the product. So one row is a matrix times a vector, and
    a few rows change places with the weight: (W xᵀ)ᵀ (docs/decisions.md).
    """
    rows = x.numel() // x.shape[-1]
    if rows > FEW or not isinstance(weight, Tensor) or not plain(x):
        return F.linear(x, weight, bias)
    out = matrix_vector(weight, x.flatten()) if rows == 1 else (weight @ x.reshape(rows, -1).t()).t()
    out = out.view(*x.shape[:-1], -1)
    return out if bias is None else out + bias


def linear_gelu_tanh(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The tanh form of GELU after `linear`: on such a CPU in one pass, by an operator private to PyTorch.

    Twice as fast: GELU by itself, in bfloat16, takes as long as the product.
    """
    if _fused_gelu is None or not plain(x):
        return F.gelu(linear(x, weight, bias), approximate="tanh")
    return _fused_gelu(x, weight, bias, "gelu", [], "tanh")


def pieces(x: Tensor) -> tuple[Tensor, ...]:
    """(…, T, K) cut along T into what `linear` takes as few rows, on a CPU in 16 bits; else whole.

    What lies between two products then stays in the processor's cache, and takes little memory.
    """
    if not plain(x) or x.numel() <= FEW * x.shape[-1]:
        return (x,)
    return x.split(FEW, dim=-2)


class Linear(nn.Linear):
    """`nn.Linear` by way of `linear`."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def _find_fused_gelu():
    try:
        operator = torch.ops.mkldnn._linear_pointwise.default
        x = torch.linspace(-2, 2, 16).bfloat16()[None]
        weight, bias = torch.eye(16).bfloat16(), torch.zeros(16).bfloat16()
        got = operator(x, weight, bias, "gelu", [], "tanh").float()
        right = (got - F.gelu(x.float(), approximate="tanh")).abs().max() < 2 * torch.finfo(
            torch.bfloat16
        ).eps
    except Exception:  # whatever it raises, it means the same: not in this PyTorch
        return None
    return operator if right else None


_fused_gelu = _find_fused_gelu()
