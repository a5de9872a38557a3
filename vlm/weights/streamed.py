"""Matrices in 4 bits in the order in which our own product reads them, and who gets that order.

Letters as in `vlm.weights.banks`, and G inputs that share a scale. The kernel rounds its input to 8 bits in
groups of G (products.cpp): that is 0.5% to 0.9% off, where the weights in 4 bits are 8% to 9%.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vlm.native import library as native
from vlm.weights import banks
from vlm.weights.banks import BLOCK, Bank, FourBitBank

OUTPUTS = 16  # of a block: lanes of a register
GROUPS = {"nf4": BLOCK, "int4": 32}
FEW_ROWS = 48  # above, the product takes longer than unpacking and PyTorch's own
FLOATS = (torch.bfloat16, torch.float32)


class StreamedBank(Bank):
    """Buffers: blocks (E, N/16, K/G, bytes) uint8, codes with scales; code (16,) float32, the levels."""

    @property
    def kind(self) -> str:
        return "nf4" if self.blocks.shape[-1] == 8 * GROUPS["nf4"] + 2 * OUTPUTS else "int4"

    def linear(self, index: int, x: Tensor, bias: Tensor | None = None) -> Tensor:
        rows, wanted = x.numel() // x.shape[-1], torch.is_grad_enabled() and x.requires_grad
        if rows > FEW_ROWS or x.dtype not in FLOATS or wanted:
            return F.linear(x, self.dense(index).to(x.dtype), bias)
        x, out = x.contiguous(), x.new_empty(*x.shape[:-1], self.shape[0])
        half = x.dtype == torch.bfloat16
        native.library().four_product(
            *self._at(index), x.data_ptr(), rows, out.data_ptr(), half, torch.get_num_threads()
        )
        return out if bias is None else out + bias

    def dense(self, index: int) -> Tensor:
        out = torch.empty(self.shape, dtype=self.dtype if self.dtype in FLOATS else torch.float32)
        half = out.dtype == torch.bfloat16
        native.library().four_unpack(*self._at(index), out.data_ptr(), half, torch.get_num_threads())
        return out.to(self.dtype)

    def _at(self, index: int) -> tuple[int, ...]:
        blocks = self.blocks
        start = blocks.data_ptr() + index * blocks.stride(0)
        return self.kind == "nf4", start, self.code.data_ptr(), *self.shape


def streams(kind: str, shape: tuple[int, int], dtype: torch.dtype) -> bool:
    """Whether a matrix on the CPU can be in that order; not in float32, which is for exact numbers."""
    fits = shape[0] % OUTPUTS == 0 and shape[1] % GROUPS[kind] == 0
    return fits and dtype == torch.bfloat16 and works()


@cache
def works() -> bool:
    """Whether there is a kernel and it has the right numbers: asked with a small matrix of each kind."""
    return native.library() is not None and all(_right(kind) for kind in GROUPS)


def streamed(codes: Tensor, scales: Tensor, levels: Tensor, dtype: torch.dtype) -> StreamedBank:
    """A bank from codes (E, N, K) of 0 … 15, scales (E, N, K/G, 1 or 2) and the codes' levels (16,)."""
    experts, rows, columns = codes.shape
    groups = scales.shape[2]
    own = scales.bfloat16().contiguous().view(torch.uint8).view(experts, rows // OUTPUTS, OUTPUTS, groups, -1)
    words = codes.to(torch.uint8).view(
        experts, rows // OUTPUTS, OUTPUTS, groups, columns // groups // 8, 2, 4
    )
    low, high = words.permute(5, 0, 1, 3, 4, 2, 6)  # (E, N/16, K/G, G/8, 16, 4) each
    blocks = torch.cat(((low | high << 4).flatten(3), own.transpose(2, 3).flatten(3)), dim=-1)
    return StreamedBank((rows, columns), dtype, blocks=blocks, code=banks._shared(levels.float()))


def for_device(bank: FourBitBank) -> Bank:
    """The same matrices in the order that this device multiplies fastest."""
    nf4 = bank.packed.device.type == "cpu" and bank.kind == "nf4" and bank.blocks[0] == BLOCK
    if not nf4 or not streams("nf4", bank.shape, bank.dtype):
        return banks.for_device(bank)
    parts = []
    for index, packed in enumerate(bank.packed):
        codes = torch.stack((packed >> 4, packed & 15), dim=-1).view(1, *bank.shape)
        parts.append(streamed(codes, bank.scales(index)[None, ..., None], bank.code, bank.dtype))
    blocks = banks.stack([part.blocks[0] for part in parts])
    return StreamedBank(bank.shape, bank.dtype, blocks=blocks, code=parts[0].code)


def _right(kind: str) -> bool:
    """Against the formula, with the input rounded as the kernel does."""
    group, rows, columns = GROUPS[kind], 5 * OUTPUTS, 2 * GROUPS[kind]
    codes = torch.arange(rows * columns).mul(7).remainder(16).view(1, rows, columns)
    scales = torch.linspace(0.5, 1, rows * 2 * (1 if kind == "nf4" else 2)).bfloat16().view(1, rows, 2, -1)
    levels = (torch.arange(16.0) * 14 - 105) / 112 if kind == "nf4" else torch.arange(16.0) - 8
    bank = streamed(codes, scales, levels, torch.float32)
    x = torch.linspace(-3, 3, 7 * columns).sin().view(7, columns)
    weights = levels[codes].view(rows, 2, group) * scales[0, ..., :1].float()
    if kind == "int4":
        weights = weights + scales[0, ..., 1:].float()
    weights, rounded = weights.view(rows, columns), _in_8_bits(x, group)
    # These levels are whole 112ths as the kernel's are. What is left is float32: sums of terms below 9.
    product = (bank.linear(0, x) - rounded @ weights.t()).abs().max() <= columns * 9 * 2**-23
    return bool(product) and torch.allclose(bank.dense(0), weights, rtol=2**-22, atol=2**-20)


def _in_8_bits(x: Tensor, group: int) -> Tensor:
    """What the kernel makes of its input."""
    parts = x.unflatten(-1, (-1, group))
    step = parts.abs().amax(-1, keepdim=True) / 127
    return (parts / step.clamp_min(1e-30)).round().mul(step).flatten(-2)
