"""Decoding with the decoder's matrices and the head in 4 bits."""

from __future__ import annotations

import time

import torch
from torch.nn import functional as F

from vlm.bench.rows import Row, faster
from vlm.bench.stages import CONTEXT, Pair, _inputs, _on_cache, _our_logits
from vlm.weights.quantize import quantisable, quantise_head, quantised, swap


def decode_4bit(pair: Pair, mode: str, runs: int) -> Row:
    """One token on a filled cache, against transformers in bfloat16. Changes the pair's own model."""
    model = pair.ours
    reference = pair.reference
    x, positions = _inputs(pair, 0, 64)
    with torch.inference_mode():
        plain = _our_logits(pair, x, positions, model.new_cache(64)).float()
    start = time.perf_counter()
    for name in [name for name, _ in model.named_parameters() if quantisable(name)]:
        swap(model, name, quantised(model.get_parameter(name), mode, torch.device(pair.device)))
    with torch.inference_mode():
        inner = _our_logits(pair, x, positions, model.new_cache(64)).float()
    quantise_head(model, mode)
    took = time.perf_counter() - start
    with torch.inference_mode():
        outer = _our_logits(pair, x, positions, model.new_cache(64)).float()
    del reference
    ours, theirs = _on_cache(pair, 1, runs)
    alike = [F.cosine_similarity(plain, logits).item() for logits in (inner, outer)]
    bits = sum(b.nbytes for b in model.decoder.buffers())
    limit = pair.limits.reading(bits + model.config.decoder.cache_bytes(CONTEXT, 2))
    note = (
        f"{pair.what}; layers and head in {mode}, quantised in {took:.0f} s; cosine of the logits "
        f"with bfloat16 {alike[0]:.4f} with the layers, {alike[1]:.4f} with the head too; reference: bfloat16"
    )
    return faster(f"decode_4bit_{mode}", ours, theirs, note=note, limit=limit)
