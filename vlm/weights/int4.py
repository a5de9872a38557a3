"""Matrices in 4 bits of even steps, by PyTorch's own kernels: on CPUs with AVX-512, on CUDA tinygemm.

A group of `GROUP` neighbouring inputs of a row shares a scale and an offset: w ≈ (code - 8) · scale + offset.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vlm.records import InputError
from vlm.weights.banks import FEW_ROWS, Bank
from vlm.weights.streamed import streamed, streams

GROUP = 32  # inputs; 64 would be 4.5 bits a weight instead of 5, and as far off as nf4
TILE = 64  # rows that the CPU's kernel takes at a time
INNER = 8  # how tinygemm tiles the inputs, in units of 16


class Int4Bank(Bank):
    """Buffers: packed (E, …) in the order of the device's kernel; scales (E, K/32, N, 2) bfloat16."""

    def linear(self, index: int, x: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > FEW_ROWS and x.device.type == "cpu":
            return F.linear(x, self.dense(index).to(x.dtype), bias)
        product = torch.ops.aten._weight_int4pack_mm
        if x.device.type == "cpu":
            product = torch.ops.aten._weight_int4pack_mm_for_cpu
        out = product(rows.bfloat16(), self.packed[index], GROUP, self.scales[index]).to(x.dtype)
        out = out.view(*x.shape[:-1], -1)
        return out if bias is None else out + bias

    def dense(self, index: int) -> Tensor:
        (rows, columns), packed = self.shape, self.packed[index]
        if packed.device.type != "cpu":  # the kernel knows its own order
            return self.linear(index, torch.eye(columns, device=packed.device, dtype=self.dtype)).t()
        # A byte holds one input of rows r (low half) and r + 32 of a tile.
        pairs = packed.view(rows // TILE, columns, TILE // 2)
        codes = torch.empty(rows // TILE, columns, 2, TILE // 2, dtype=torch.bfloat16)
        codes[:, :, 0], codes[:, :, 1] = pairs & 15, pairs >> 4
        scale, offset = self.scales[index].view(-1, rows // TILE, TILE, 2).permute(3, 1, 0, 2).contiguous()
        scale, least = scale.unsqueeze(2), (offset - 8 * scale).unsqueeze(2)  # (N/64, K/32, 1, 64) each
        groups = torch.addcmul(least, codes.view(rows // TILE, columns // GROUP, GROUP, TILE), scale)
        return groups.view(-1, columns, TILE).transpose(1, 2).reshape(rows, columns).to(self.dtype)


def int4(matrices: Tensor, dtype: torch.dtype) -> Bank:
    """(E, N, K) on their device as a bank.

    Raises:
        InputError: this device has no such kernel, or a size is no multiple of what it takes.
    """
    rows, columns = matrices.shape[1:]
    if matrices.device.type == "cpu" and streams("int4", (rows, columns), dtype):
        codes, scales = (torch.stack(part) for part in zip(*map(_codes, matrices), strict=True))
        return streamed(codes, scales.transpose(1, 2), torch.arange(16.0) - 8, dtype)
    step = GROUP if matrices.device.type == "cpu" else 16 * INNER
    if rows % TILE or columns % step:
        wrong = f"int4 takes sizes in steps of {TILE} and {step}, not {rows} × {columns}"
        raise InputError(f"{wrong}: use --quantize nf4")
    if reason := why_not(matrices.device.type):
        raise InputError(f"int4 does not run here ({reason}): use --quantize nf4")
    packed, scales = zip(*(_pack(matrix) for matrix in matrices), strict=True)
    return Int4Bank((rows, columns), dtype, packed=torch.stack(packed), scales=torch.stack(scales))


@cache
def why_not(device: str) -> str | None:
    """None where a small product has the numbers of the unpacked matrix."""
    matrix = torch.linspace(-1, 1, 2 * TILE * 128).view(2 * TILE, 128).sin().to(device, torch.bfloat16)
    x = torch.linspace(-1, 1, 256, device=device).view(2, 128).bfloat16()
    try:
        packed, scales = _pack(matrix)
        bank = Int4Bank(tuple(matrix.shape), torch.bfloat16, packed=packed[None], scales=scales[None])
        got, unpacked = bank.linear(0, x).float(), bank.dense(0).float()
    except Exception as error:  # whatever it raises, it means the same: not here
        return (str(error) or type(error).__name__).splitlines()[0]
    # Half a step of the widest group (2 / 15), and roundings of code, scale and offset to bfloat16.
    far = (unpacked - matrix.float()).abs().max() > 1 / 15 + 4 * 2**-8
    # Sums of 128 terms of at most 1, each rounded twice to bfloat16.
    wrong = (got - x.float() @ unpacked.t()).abs().max() > 128 * 2 * 2**-8 * 0.5
    return "its product is not that of the matrix" if far or wrong else None


def _codes(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) codes of 0 … 15 in uint8, and (K/32, N, 2) scales and offsets."""
    rows, columns = matrix.shape
    groups = matrix.float().view(rows, columns // GROUP, GROUP)
    low, high = groups.aminmax(dim=-1)
    scale = ((high - low) / 15).clamp_min(1e-8).bfloat16().float()  # rounded before the codes are chosen
    offset = (low + 8 * scale).bfloat16().float()
    codes = groups.sub(offset[..., None]).div_(scale[..., None]).add_(8).round_().clamp_(0, 15)
    scales = torch.stack((scale, offset), dim=-1).transpose(0, 1).contiguous().bfloat16()
    return codes.view(rows, columns).to(torch.uint8), scales


def _pack(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The codes in PyTorch's order, and the scales."""
    codes, scales = _codes(matrix)
    codes = codes.to(torch.int32)
    if matrix.device.type == "cpu":
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1), scales
    pairs = (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8)
    return torch.ops.aten._convert_weight_to_int4pack(pairs, INNER), scales
