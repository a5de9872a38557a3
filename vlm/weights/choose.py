"""Whether a model fits a device in full precision, and the sum that says so."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vlm.config import DecoderConfig
from vlm.weights.quantize import BITS, mode_of, quantisable

MARGIN = 0.9  # of the free memory: the rest is for activations


@dataclass(frozen=True)
class QuantizeChoice:
    """What the decoder's matrices are loaded in, and why in one sentence with the figures."""

    mode: str
    reason: str
    as_stored: bool = False  # every matrix stays as the files have it, plain ones among them


def quantised_bytes(model: nn.Module, mode: str, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of all weights with the decoder's matrices in ``mode``; the model may be on the meta device."""
    total = 0.0
    for name, parameter in model.named_parameters():
        few = mode != "none" and quantisable(name)
        total += parameter.numel() * (BITS[mode] / 8 if few else dtype.itemsize)
        total += 4 * parameter.numel() / parameter.shape[-1] if few and mode == "int8" else 0  # row scales
        if mode == "int4" and name in ("decoder.embed_tokens.weight", "decoder.lm_head.weight"):
            total += _head_bytes(model, name, parameter, dtype)
    return round(total)


def _head_bytes(model: nn.Module, name: str, parameter: nn.Parameter, dtype: torch.dtype) -> float:
    """What a head in 4 bits adds to the sum: beside the embeddings it is tied to, or in place of itself."""
    if model.decoder.lm_head is None:
        return parameter.numel() * BITS["int4"] / 8
    return parameter.numel() * (BITS["int4"] / 8 - dtype.itemsize) if "lm_head" in name else 0.0


def choose(
    wanted: str,
    model: nn.Module,
    decoder: DecoderConfig,
    dtype: torch.dtype,
    free: int,
    stored: str | None = None,
) -> QuantizeChoice:
    """Settle ``auto``: nothing where weights and the whole context's cache fit the free memory, else nf4.

    Args:
        wanted: auto, or a mode or its alias, which is then taken as it is.
        model: the model on the meta device.
        dtype: of the weights without quantisation, and of the cache.
        free: bytes that the device can still give.
        stored: the mode that the files are in already, kept by ``auto``.

    Raises:
        InputError: ``wanted`` is not known.
    """
    mode = mode_of(wanted)
    if mode != "auto":
        note = f", unpacked from the {stored} in the files" if stored not in (None, mode) else ""
        return QuantizeChoice(mode, f"asked for{note}")
    if stored:
        return QuantizeChoice(stored, f"the files hold the weights in {stored} already", True)
    weights = quantised_bytes(model, "none", dtype)
    cache = decoder.cache_bytes(decoder.context_length, dtype.itemsize)
    need = (
        f"{str(dtype).removeprefix('torch.')} weights {gib(weights)} + cache of all "
        f"{decoder.context_length:,} tokens {gib(cache)} = {gib(weights + cache)}"
    )
    room = f"{MARGIN:.0%} of the {gib(free)} free"
    if weights + cache <= MARGIN * free:
        return QuantizeChoice("none", f"{need} fit in {room}")
    small = quantised_bytes(model, "nf4", dtype)
    note = "" if small + cache <= MARGIN * free else "; even so the whole context will not fit"
    return QuantizeChoice(
        "nf4", f"{need} do not fit in {room}; with the decoder in 4 bits the weights take {gib(small)}{note}"
    )


def gib(count: float) -> str:
    """Bytes for people: ``4.2 GiB``, and small sizes without losing them: ``0.013 GiB``."""
    size = count / 2**30
    return f"{size:,.1f} GiB" if size >= 1 else f"{size:.2g} GiB"
