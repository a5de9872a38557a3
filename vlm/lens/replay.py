"""Chosen rows of a sequence, once more through the decoder against the cached keys and values.

What a token's row computes depends on the tokens before it only through their keys and values. With those in
a cache, any rows can be run again by themselves, together in one pass, and give what they gave in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vlm.lens.subject import Subject
from vlm.models.cache import KVCache
from vlm.models.decoder import Decoder, DeepStack
from vlm.models.rope import rotate

OnAttention = Callable[[int, Tensor], None]  # layer, (H, N, T) float32 weights

BLOCK = 64  # rows a pass: 16 heads on 32,000 keys are then 130 MB of weights, of one layer at a time


@torch.inference_mode()
def replay(
    subject: Subject,
    rows: Items[int],
    on_attention: OnAttention | None = None,
    states: list[Tensor] | None = None,
) -> Tensor:
    """Hidden states (N, D) of some rows after the final norm.

    Args:
        rows: token indices, each in the cache; at most `BLOCK` of them.
        on_attention: called after each layer's scores with its weights, every row's sum being 1.
        states: a list to add what leaves each layer to, taps added, (1, N, D) each.

    Raises:
        ValueError: too many rows, or rows that the cache does not hold.
    """
    if not 0 < len(rows) <= BLOCK or not all(0 <= row < subject.cache.length for row in rows):
        raise ValueError(f"need 1 to {BLOCK} rows below {subject.cache.length}, not {list(rows)}")
    decoder, device = subject.model.decoder, subject.model.device
    x, deepstack = row_inputs(subject, rows)
    positions = subject.sequence.positions[:, list(rows)][:, None].to(device)  # (3, 1, N)
    cache = _Past(subject.cache, max(rows) + 1)
    places = torch.arange(cache.length, device=device)
    mask = places <= torch.tensor(rows, device=device)[:, None]  # (N, T): itself and what was before it
    hooks = []
    if on_attention:
        hooks += _watch_attention(decoder, cache, mask, decoder.rope(positions), on_attention)
    with _removed(hooks):
        # Written out: the fused kernels keep memory for every pair of lengths (docs/decisions.md).
        how = {"mask": mask[None, None], "deepstack": deepstack, "backend": "eager", "states": states}
        hidden = decoder(x[None], positions, cache=cache, **how)
    return hidden[0]


def blocks(rows: Items[int], size: int = BLOCK) -> Iterator[Items[int]]:
    """Rows in portions that one pass takes."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def row_inputs(subject: Subject, rows: Items[int]) -> tuple[Tensor, DeepStack | None]:
    """What the decoder was fed at those rows: (N, D) embeddings, vision features in place, and their taps."""
    sequence, model = subject.sequence, subject.model
    media = {span.media for row in rows for span in sequence.spans if span.start <= row < span.stop}
    seen = [subject.see(index) if index in media else None for index in range(len(sequence.media))]
    parts = [model.embed(sequence, seen, row, row + 1) for row in rows]
    x = torch.cat([embeds for embeds, _ in parts])
    where = [index for index, (_, own) in enumerate(parts) if own is not None]
    if not where:
        return x, None
    taps = zip(*(parts[index][1].taps for index in where), strict=True)
    return x, DeepStack(torch.tensor(where, device=x.device), tuple(torch.cat(level) for level in taps))


class _Past(KVCache):
    """Another cache's first ``length`` tokens, to be read: rows that are run again are in it already."""

    def __init__(self, cache: KVCache, length: int):
        self._cache, self.length = cache, length

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self._cache.extend(layer, k[:, :, :0], v[:, :, :0])  # stores nothing
        return keys[:, :, : self.length], values[:, :, : self.length]

    def advance(self, count: int) -> None:
        """Nothing was stored."""


def _watch_attention(
    decoder: Decoder, cache: _Past, mask: Tensor, rope: tuple[Tensor, Tensor], told: OnAttention
) -> list:
    """Hooks where a layer's queries leave their norm: the weights are those queries on the cached keys."""

    def hook(layer: int):
        def weigh(module: nn.Module, args: tuple, q: Tensor) -> None:
            q = rotate(q.transpose(1, 2), *rope)[0]  # (H, N, d)
            keys, _ = cache.extend(layer, q[None, :1], q[None, :1])
            told(layer, attention_weights(q, keys[0], mask))

        return weigh

    return [
        layer.self_attn.q_norm.register_forward_hook(hook(index))
        for index, layer in enumerate(decoder.layers)
    ]


def attention_weights(q: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d): (H, N, d) queries on (Hkv, T, d) keys → (H, N, T) float32.

    Args:
        mask: (N, T) bool, True where a row may look.
    """
    grouped = q.float().unflatten(0, (len(keys), -1))  # (Hkv, G, N, d)
    scores = grouped @ keys.float()[:, None].transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill_(~mask, -torch.inf)
    return scores.softmax(-1).flatten(0, 1)


@contextmanager
def _removed(hooks: list) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
