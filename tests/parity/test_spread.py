"""Rounding in bfloat16: our fast paths scatter no more than the reference's two attentions do.

Two figures, each the root mean square over all logits of three talks:
- between our plain path (attention written out, all at once) and a fast one: independent errors of the
  reference's size would be √2 of it apart. Its own eager and sdpa are 0.9 to 1.1 of it apart, for they share
  some roundings, and so are ours;
- between ours and float32 with the same weights: at most the reference's own way there and on from one of its
  attentions to the other (triangle inequality). An error as large as both together would show.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from oracle import expect, logits
from stages import our_run
from talks import TALKS
from torch import Tensor
from twins import Twin

CHUNKS = (10_000, 100, 16, 1)  # at once; and on a cache: many rows, a few, and one by one
SPOKEN = ("text", "image", "two_videos")


@pytest.mark.parametrize("functions", ["of PyTorch", "our own"])
def test_spread_in_bfloat16(twin, functions, request):
    exact, rounded = _rounded(twin, torch.float32), _rounded(twin, torch.bfloat16)
    truth = _theirs(exact, "sdpa")
    eager, sdpa = _theirs(rounded, "eager"), _theirs(rounded, "sdpa")
    apart = _rms(eager - sdpa)
    plain, off = _ours(rounded, CHUNKS[0], "eager"), [_rms(x - truth) for x in (eager, sdpa)]
    if functions == "our own":
        request.getfixturevalue("own_functions")
    for chunk in CHUNKS:
        fast = _ours(rounded, chunk, "sdpa")
        assert 0 < _rms(fast - plain) <= 2**0.5 * max(off), f"chunks of {chunk}: against our plain path"
        assert 0 < _rms(fast - truth) <= min(off) + apart, f"chunks of {chunk}: against float32"


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _rounded(twin: Twin, dtype: torch.dtype) -> Twin:
    """Both sides with the weights of bfloat16, computing in ``dtype``; buffers stay (frequencies)."""
    ours, reference = deepcopy(twin.ours.model), deepcopy(twin.reference)
    for model in (ours, reference):
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().to(dtype)
    return replace(twin, ours=replace(twin.ours, model=ours), reference=reference)


def _theirs(twin: Twin, attention: str) -> Tensor:
    """Logits of all talks, one behind the other."""
    twin.reference.set_attn_implementation(attention)
    known = [expect(twin, TALKS[talk]) for talk in SPOKEN]
    return torch.cat([logits(twin, one.prompt, one.media).float() for one in known])


def _ours(twin: Twin, chunk: int, attention: str) -> Tensor:
    model, parts = twin.ours.model, []
    model.backend = attention
    with torch.inference_mode():
        for talk in SPOKEN:
            prompt, vision = our_run(twin, TALKS[talk])
            cache = model.new_cache(8)
            while cache.length < len(prompt):
                stop = min(len(prompt), cache.length + chunk)
                parts.append(model.decoder.logits(model(prompt, vision, cache, stop=stop)))
    return torch.cat(parts).float()
