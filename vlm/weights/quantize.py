"""The decoder's matrices in 4 or 8 bits, put into a model from outside, by bitsandbytes or PyTorch itself.

nf4 with double quantisation is QLoRA's (arXiv 2305.14314); int8 with the outlier columns of the input
kept in full precision is LLM.int8's (arXiv 2208.07339). Tower, connector, embeddings, norms, the experts'
router and the head are never touched, but that int4 (`vlm.weights.int4`) takes the head too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlm.records import InputError
from vlm.weights.banks import (
    BLOCK,
    NESTED_BLOCK,
    Bank,
    Int8Bank,
    QuantLinear,
    bitsandbytes,
    four_bit,
    stack,
)
from vlm.weights.int4 import GROUP, int4
from vlm.weights.streamed import for_device

MODES = ("none", "nf4", "int8", "int4")
ALIASES = {"4bit": "nf4", "8bit": "int8"}
CHUNK = 2**18  # weights quantised at a time: the library needs about 20 bytes of scratch for each
# A weight with its share of the scales; int8 has one more scale a row.
BITS = {"nf4": 4 + 8 / BLOCK + 32 / (BLOCK * NESTED_BLOCK), "int8": 8, "int4": 4 + 32 / GROUP}


def mode_of(name: str) -> str:
    """The mode a person means; ``auto`` is left for `vlm.weights.choose`. Raises InputError."""
    mode = ALIASES.get(name, name)
    if mode not in (*MODES, "auto"):
        raise InputError(f"quantize {name!r} is not known: use auto, {', '.join(MODES)} (or 4bit, 8bit)")
    return mode


def quantisable(name: str) -> bool:
    """Whether the parameter of our model named so is a matrix that these modes change."""
    if not name.startswith("decoder.layers.") or name.endswith(".mlp.gate.weight"):
        return False  # the router's few weights decide which experts work at all
    return name.endswith(("_proj.weight", ".gate_up_proj", ".mlp.down_proj"))


def quantised(tensor: Tensor, mode: str, device: torch.device, dtype: torch.dtype | None = None) -> Bank:
    """A matrix (N, K), or experts (E, N, K), as a bank of ``mode`` on ``device``, one matrix at a time.

    ``dtype`` is what the bank unpacks to; None: the tensor's own.
    """
    matrices = tensor if tensor.dim() == 3 else tensor[None]
    if mode == "int4":
        return int4(matrices.to(device), dtype or tensor.dtype)
    if mode == "nf4":
        return for_device(four_bit([_nf4(matrix.to(device, dtype)) for matrix in matrices]))
    rows = [_int8(matrix.to(device)) for matrix in matrices]
    values, scales = (stack(list(part)) for part in zip(*rows, strict=True))
    return Int8Bank(tuple(values.shape[1:]), dtype or tensor.dtype, values=values, scales=scales)


def _nf4(matrix: Tensor) -> tuple[Tensor, object]:
    """bitsandbytes' own result for a whole matrix, but chunk by chunk to save scratch memory."""
    functional = bitsandbytes().functional
    flat = matrix.contiguous().flatten()
    parts = [
        functional.quantize_4bit(chunk, blocksize=BLOCK, quant_type="nf4") for chunk in flat.split(CHUNK)
    ]
    packed = torch.cat([packed.flatten() for packed, _ in parts])
    absmax = torch.cat([state.absmax for _, state in parts])
    offset = absmax.mean()
    small, outer = functional.quantize_blockwise(absmax - offset, blocksize=NESTED_BLOCK)
    state = functional.QuantState(
        small, matrix.shape, parts[0][1].code, BLOCK, "nf4", matrix.dtype, offset=offset, state2=outer
    )
    return packed, state


def _int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    step = max(1, CHUNK // matrix.shape[1])
    quantise = bitsandbytes().functional.int8_vectorwise_quant
    parts = [quantise(chunk.to(torch.float16)) for chunk in matrix.contiguous().split(step)]
    return torch.cat([values for values, *_ in parts]), torch.cat([scales for _, scales, _ in parts])


def quantise_head(model: nn.Module, mode: str) -> None:
    """The head too; one that is tied to the embeddings becomes a matrix of its own."""
    decoder = model.decoder
    weight = decoder.embed_tokens.weight if decoder.lm_head is None else decoder.lm_head.weight
    decoder.lm_head = QuantLinear(quantised(weight, mode, weight.device), None)


def swap(model: nn.Module, name: str, bank: Bank) -> None:
    """Put ``bank`` where ``model`` had the parameter ``name``."""
    owner_name, _, leaf = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    if isinstance(owner, nn.Linear):
        model.set_submodule(owner_name, QuantLinear(bank, owner.bias))
    else:
        delattr(owner, leaf)
        setattr(owner, leaf, bank)
