"""Matrices in few bits, as modules that multiply them through bitsandbytes.

Letters: E experts (1 for a linear layer), N outputs, K inputs.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlm.records import InputError

BLOCK, NESTED_BLOCK = 64, 256  # weights to a scale, scales to a scale of scales (QLoRA, arXiv 2305.14314)
OUTLIER = 6.0  # inputs of this size and above stay in full precision (LLM.int8, arXiv 2208.07339, §3.1)
FEW_ROWS = 48  # on a CPU the 4-bit product takes time with every row: above this, unpack first


@cache
def bitsandbytes() -> ModuleType:
    """The library. It would fetch and run CPU kernels from a hub if it could: it may not."""
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, known = log.level, sys.modules.get("kernels")
    log.setLevel(logging.ERROR)  # else it complains of the kernels it did not get
    sys.modules["kernels"] = None
    try:
        import bitsandbytes
    except ImportError as error:
        raise InputError("4 and 8 bits need the bitsandbytes package: pip install bitsandbytes") from error
    finally:
        log.setLevel(level)
        del sys.modules["kernels"]
        if known is not None:
            sys.modules["kernels"] = known
    return bitsandbytes


class Bank(nn.Module):
    """E matrices (N, K) in few bits. ``bank[i]`` stands where ``F.linear`` takes a tensor."""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, **buffers: Tensor):
        super().__init__()
        self.shape, self.dtype = shape, dtype
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor)

    def __getitem__(self, index: int) -> Matrix:
        return Matrix(self, index)

    def linear(self, index: int, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(…, K) → (…, N) with matrix ``index``."""
        raise NotImplementedError

    def dense(self, index: int) -> Tensor:
        """Matrix ``index`` unpacked: (N, K) in the dtype it came from."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.shape}, {sum(buffer.nbytes for buffer in self.buffers()):,} bytes"


class Matrix:
    """One matrix of a bank; ``F.linear(x, matrix, bias)`` ends in the bank."""

    def __init__(self, bank: Bank, index: int):
        self.bank, self.index = bank, index

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is not F.linear:
            return NotImplemented
        x, matrix, *bias = args
        return matrix.bank.linear(matrix.index, x, *bias, **(kwargs or {}))


class QuantLinear(nn.Module):
    """Stands in for an ``nn.Linear`` whose weight is a bank of one."""

    def __init__(self, weight: Bank, bias: nn.Parameter | None):
        super().__init__()
        self.weight = weight
        self.register_parameter("bias", bias)
        self.out_features, self.in_features = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.linear(0, x, self.bias)


class Int8Bank(Bank):
    """Rows scaled to ±127: values (E, N, K) int8, scales (E, N) float32."""

    def linear(self, index: int, x: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        # The library wants float16 here. What float16 cannot hold is an outlier and stays out of it.
        values, scales, outliers = bitsandbytes().functional.int8_vectorwise_quant(
            rows.to(torch.float16), threshold=OUTLIER
        )
        out, _ = torch.ops.bitsandbytes.int8_mixed_scaled_mm.default(
            rows, values, self.values[index], scales, self.scales[index], outliers, bias
        )
        return out.view(*x.shape[:-1], -1)

    def dense(self, index: int) -> Tensor:
        return (self.values[index] * (self.scales[index, :, None] / 127)).to(self.dtype)


class FourBitBank(Bank):
    """As bitsandbytes stores it, on any device: codes of the flattened matrix, two a byte.

    Buffers: packed (E, N·K/2); absmax (E, N·K/64) uint8 with nested_absmax (E, N·K/64/256), offset (E,)
    and nested_code (256,); or absmax in float32 and no others. code (16,).
    """

    kind = "nf4"
    blocks = (BLOCK, NESTED_BLOCK)

    def state(self, index: int):
        """bitsandbytes' description of one matrix."""
        make, outer, nested = bitsandbytes().functional.QuantState, None, {}
        if hasattr(self, "nested_absmax"):
            outer = make(
                self.nested_absmax[index],
                code=self.nested_code,
                blocksize=self.blocks[1],
                dtype=torch.float32,
            )
            nested = {"offset": self.offset[index], "state2": outer}
        return make(
            self.absmax[index],
            torch.Size(self.shape),
            self.code,
            self.blocks[0],
            self.kind,
            self.dtype,
            **nested,
        )

    def scales(self, index: int) -> Tensor:
        """(N, K/block) float32."""
        state = self.state(index)
        absmax = state.absmax
        if state.nested:
            absmax = bitsandbytes().functional.dequantize_blockwise(absmax, state.state2) + state.offset
        return absmax.view(self.shape[0], -1)

    def linear(self, index: int, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return bitsandbytes().matmul_4bit(x, self.packed[index], self.state(index), bias=bias)

    def dense(self, index: int) -> Tensor:
        return bitsandbytes().functional.dequantize_4bit(self.packed[index], self.state(index))


class InterleavedBank(Bank):
    """nf4 in the order in which bitsandbytes' AVX-512 product reads it.

    Buffers: packed (E, N, K/2), in tiles of 32 rows: a byte holds the same input of rows r and r + 16;
    absmax (E, K/64, N) bfloat16; code (16,).
    """

    def linear(self, index: int, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if x.numel() > FEW_ROWS * x.shape[-1]:
            return F.linear(x, self.dense(index).to(x.dtype), bias)
        out = torch.ops.bitsandbytes.gemv_4bit.default(
            x.contiguous(), self.packed[index], self.shape, self.absmax[index], self.code, BLOCK
        )
        return out if bias is None else out + bias

    def dense(self, index: int) -> Tensor:
        packed = natural(self.packed[index])
        absmax = self.absmax[index].t().float().flatten()
        return torch.ops.bitsandbytes.dequantize_4bit.default(
            packed, absmax, BLOCK, "nf4", self.shape, self.dtype
        )


def interleaved(packed: Tensor, rows: int) -> Tensor:
    """(N·K/2,) codes in the order of the matrix → (N, K/2) in the order of `InterleavedBank`."""
    codes = torch.stack((packed >> 4, packed & 15), -1).view(rows // 32, 2, 16, -1, 2)
    low, high = codes.unbind(1)  # (N/32, 16, K/2, 2) each
    return (low | high << 4).transpose(1, 2).reshape(rows, -1)


def natural(packed: Tensor) -> Tensor:
    """The way back from `interleaved`: (N, K/2) → (N·K/2,)."""
    rows, half = packed.shape
    pairs = packed.view(torch.int16).view(rows // 32, half, 16).transpose(1, 2).contiguous()
    out = packed.new_empty(rows // 32, 2, 16, half)
    # An int16 is two bytes, least significant first: inputs 2k and 2k + 1 of rows r (low) and r + 16.
    out[:, 0] = (pairs << 4) | ((pairs >> 8) & 15)
    out[:, 1] = (pairs & 0xF0) | ((pairs >> 12) & 15)
    return out.flatten()


@cache
def _interleaving_works() -> bool:
    """Whether this CPU and this bitsandbytes have that product: asked with one small tile."""
    functional = bitsandbytes().functional
    if not getattr(functional, "has_avx512bf16", bool)():
        return False
    matrix = torch.linspace(-1, 1, 32 * BLOCK).view(32, BLOCK).bfloat16()
    plain = four_bit([functional.quantize_4bit(matrix, compress_statistics=True, quant_type="nf4")])
    x = torch.ones(1, BLOCK, dtype=torch.bfloat16)
    try:
        fast, slow = _interleave(plain).linear(0, x).float(), F.linear(x.float(), plain.dense(0).float())
    except Exception:  # whatever it raises, it means the same: not here
        return False
    # Sums of 64 terms of at most 1: bfloat16 scales, terms and sum, each off by at most 2⁻⁹.
    return bool((fast - slow).abs().max() < BLOCK * 3 * 2**-9)


def four_bit(parts: list[tuple[Tensor, object]]) -> FourBitBank:
    """A bank from bitsandbytes' (packed, QuantState) pairs, all of one kind."""
    states = [state for _, state in parts]
    first = states[0]
    buffers = {
        "packed": stack([packed.flatten().view(torch.uint8) for packed, _ in parts]),
        "absmax": stack([state.absmax for state in states]),
        "code": _shared(first.code),
    }
    if first.nested:
        buffers["nested_absmax"] = stack([state.state2.absmax for state in states])
        buffers["nested_code"] = _shared(first.state2.code)
        buffers["offset"] = torch.stack([state.offset.to(first.absmax.device) for state in states])
    bank = FourBitBank(tuple(first.shape), first.dtype, **buffers)
    bank.kind = first.quant_type
    bank.blocks = (first.blocksize, first.state2.blocksize if first.nested else 0)
    return bank


def for_device(bank: FourBitBank) -> Bank:
    """The same matrices in the order that this device multiplies fastest."""
    rows, columns = bank.shape
    fits = rows % 32 == 0 and columns % BLOCK == 0 and bank.kind == "nf4" and bank.blocks[0] == BLOCK
    here = bank.packed.device.type == "cpu" and bank.dtype == torch.bfloat16
    return _interleave(bank) if fits and here and _interleaving_works() else bank


def _interleave(bank: FourBitBank) -> InterleavedBank:
    rows = bank.shape[0]
    packed = torch.empty(len(bank.packed), rows, bank.shape[1] // 2, dtype=torch.uint8)
    scales = torch.empty(len(bank.packed), bank.shape[1] // BLOCK, rows, dtype=torch.bfloat16)
    for index, own in enumerate(bank.packed):
        packed[index] = interleaved(own, rows)
        scales[index] = bank.scales(index).t()
    return InterleavedBank(bank.shape, bank.dtype, packed=packed, absmax=scales, code=bank.code)


def stack(parts: list[Tensor]) -> Tensor:
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


_CODES: dict[tuple, Tensor] = {}


def _shared(code: Tensor) -> Tensor:
    """One copy of a code table for all banks that use it."""
    return _CODES.setdefault((str(code.device), *code.tolist()), code)
