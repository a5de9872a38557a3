"""The embedded model: nothing that makes large models fast may slow it down."""

from __future__ import annotations

import torch

from vlm.bench.rows import Row, alternate, faster
from vlm.families.checkpoint import open_checkpoint
from vlm.families.naming import TINY

TOKENS, CONTEXT = 32, 128


def tiny(device: str, runs: int) -> Row:
    """Some tokens of the embedded model, one by one, against transformers with the same weights."""
    from transformers import AutoModelForImageTextToText, DynamicCache

    checkpoint = open_checkpoint("tiny", device=device, dtype="fast")
    model = checkpoint.model
    reference = AutoModelForImageTextToText.from_pretrained(TINY, dtype=model.dtype).to(device).eval()
    ids = torch.arange(300, 300 + CONTEXT, device=device)[None]
    positions = torch.arange(CONTEXT, device=device).expand(3, 1, CONTEXT)
    decoder, language = model.decoder, reference.model.language_model

    @torch.no_grad()
    def ours() -> None:
        cache = model.new_cache(CONTEXT + TOKENS)
        decoder.logits(decoder(decoder.embed_tokens(ids), positions, cache=cache)[0, -1:])
        for index in range(TOKENS):
            model.step(300 + index, CONTEXT + index, cache)

    @torch.no_grad()
    def theirs() -> None:
        cache = DynamicCache()
        out = language(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
        reference.lm_head(out.last_hidden_state[:, -1:])
        for index in range(TOKENS):
            token = torch.tensor([[300 + index]], device=device)
            where = torch.full((3, 1, 1), CONTEXT + index, device=device)
            out = language(input_ids=token, position_ids=where, past_key_values=cache, use_cache=True)
            reference.lm_head(out.last_hidden_state)

    mine, others = alternate(runs, ours, theirs)
    note = f"embedded model: a prompt of {CONTEXT} tokens and {TOKENS} more, one by one"
    return faster("tiny", mine, others, note=note)
