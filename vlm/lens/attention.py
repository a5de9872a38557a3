"""Where words looked: attention of chosen rows on the vision tokens, recomputed against the cached keys."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vlm.lens.replay import blocks, replay
from vlm.lens.subject import Subject
from vlm.lens.words import Word
from vlm.records import Sequence

Head = tuple[int, int]  # layer, head
How = Literal["mean", "max"]

USUAL_ROWS = 32  # of the text behind the picture, spread evenly: enough for a mean, half a pass
# A sink takes at least this many times the mean cell's share in at least this share of the layers.
SINK_SHARE, SINK_LAYERS = 5.0, 0.75
FLOOR = 0.1  # of the mean cell: below it a ratio to the usual map would show nothing but noise


@dataclass(frozen=True)
class Looks:
    """Attention of N words (or rows) on the V vision tokens of a sequence. All arrays are float32.

    Attributes:
        maps: (N, V) share of each word's attention on each vision token, over the chosen heads. The row that
            writes a token is the one before it, so a word has the mean over the rows before its tokens.
        usual: (V,) the same for the text behind the pictures in general: what a cell gets whatever the word.
        shares: (L, H, N) how much of each word's attention lies on vision, in every layer and head.
        layers: (L, V) mean over all heads and over the text of ``usual``.
    """

    maps: np.ndarray
    usual: np.ndarray
    shares: np.ndarray
    layers: np.ndarray

    @cached_property
    def sinks(self) -> np.ndarray:
        """Indices (of the V) of cells that swallow attention in most layers, whatever the word."""
        mean = self.layers.mean(-1, keepdims=True)
        often = (self.layers >= SINK_SHARE * mean).mean(0) >= SINK_LAYERS
        return np.flatnonzero(often)

    def adjusted(self, *, mask_sinks: bool = False, normalise: bool = False) -> np.ndarray:
        """(N, V) the maps, without the sinks or as multiples of the usual map."""
        maps = self.maps.copy()
        if normalise:
            maps /= self.usual + FLOOR * self.usual.mean() + np.finfo(np.float32).tiny
        if mask_sinks:
            maps[:, self.sinks] = 0
        return maps


def look(subject: Subject, words: Items[Word], heads: Items[Head] = (), how: How = "mean") -> Looks:
    """Where each word of an answer looked while it was written.

    Args:
        words: from `answer_words`, or made by hand.
        heads: (layer, head) pairs to take together; none means all of them.
        how: ``mean`` or ``max`` over those heads.

    Raises:
        ValueError: no word, or a head that the model does not have.
    """
    rows = [row - 1 for word in words for row in range(word.start, word.stop)]
    bounds = np.cumsum([0, *(word.stop - word.start for word in words)])
    tokens = vision_tokens(subject.sequence)
    usual = usual_rows(subject)
    watch = _Watch(_by_layer(subject, heads), tokens, how)
    for block in blocks(range(len(rows) + len(usual))):  # together: each pass reads all weights once
        chosen = [rows[i] if i < len(rows) else usual[i - len(rows)] for i in block]
        watch.run(subject, chosen, words=max(0, min(len(block), len(rows) - block[0])))
    maps, shares, layers = watch.found()
    return Looks(
        maps=_means(maps[: len(rows)], bounds),
        usual=maps[len(rows) :].mean(0),
        shares=np.moveaxis(_means(np.moveaxis(shares[..., : len(rows)], -1, 0), bounds), 0, -1),
        layers=layers / len(usual),
    )


def vision_tokens(sequence: Sequence) -> Tensor:
    """(V,) indices of all vision tokens, in order; `medium_cells` says which are whose."""
    spans = [torch.arange(span.start, span.stop) for span in sequence.spans if span.media is not None]
    return torch.cat(spans) if spans else torch.zeros(0, dtype=torch.int64)


def medium_cells(sequence: Sequence, index: int) -> slice:
    """Where the cells of one medium lie among the V: (t, h, w) of its ``cells_thw`` in order."""
    start = sum(patches.tokens for patches in sequence.media[:index])
    return slice(start, start + sequence.media[index].tokens)


def usual_rows(subject: Subject) -> list[int]:
    """Rows of text behind the first picture that the usual map is the mean of."""
    spans = subject.sequence.spans
    seen = next((span.stop for span in spans if span.media is not None), 0)
    rows = [
        row
        for span in spans
        if span.media is None
        for row in range(max(span.start, seen), min(span.stop, subject.cache.length))
    ]
    if not rows:
        return [subject.cache.length - 1]
    return [rows[int(i)] for i in np.unique(np.linspace(0, len(rows) - 1, USUAL_ROWS).round())]


def _by_layer(subject: Subject, heads: Items[Head]) -> dict[int, list[int]]:
    """Layer → its chosen heads."""
    config = subject.model.config.decoder
    if not heads:
        return {layer: list(range(config.num_heads)) for layer in range(config.num_layers)}
    chosen: dict[int, list[int]] = {}
    for layer, head in heads:
        if not (0 <= layer < config.num_layers and 0 <= head < config.num_heads):
            raise ValueError(f"no head {head} in layer {layer}: {config.num_layers} × {config.num_heads}")
        chosen.setdefault(layer, []).append(head)
    return chosen


class _Watch:
    """What is kept of some passes: sums over heads, never the weights themselves."""

    def __init__(self, wanted: dict[int, list[int]], tokens: Tensor, how: How):
        self._wanted, self._tokens, self._how = wanted, tokens, how
        self._maps: list[Tensor] = []  # of each pass (N, V)
        self._shares: list[list[Tensor]] = []  # of each pass and layer (H, N)
        self._layers: dict[int, Tensor] = {}  # (V,) sums over the rows that are no words
        self._words = 0

    def run(self, subject: Subject, rows: Items[int], words: int) -> None:
        """One pass; the first ``words`` of its rows write words, the others are usual text."""
        self._maps.append(torch.zeros(len(rows), len(self._tokens)))
        self._shares.append([])
        self._words = words
        replay(subject, rows, self._take)

    def _take(self, layer: int, weights: Tensor) -> None:
        inside = self._tokens[self._tokens < weights.shape[-1]]  # a later picture is not looked at
        seen = torch.zeros(*weights.shape[:2], len(self._tokens))
        seen[..., : len(inside)] = weights[..., inside.to(weights.device)].cpu()  # (H, N, V)
        self._shares[-1].append(seen.sum(-1))
        self._layers[layer] = self._layers.get(layer, 0) + seen[:, self._words :].mean(0).sum(0)
        if layer in self._wanted:
            own = seen[self._wanted[layer]]
            if self._how == "mean":
                self._maps[-1] += own.sum(0)
            else:
                self._maps[-1] = torch.maximum(self._maps[-1], own.amax(0))

    def found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, V) maps, (L, H, N) shares, (L, V) sums."""
        maps = torch.cat(self._maps)
        if self._how == "mean":
            maps /= sum(map(len, self._wanted.values()))
        shares = torch.cat([torch.stack(layers) for layers in self._shares], -1)
        return maps.numpy(), shares.numpy(), torch.stack(list(self._layers.values())).numpy()


def _means(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Means over the runs of the first axis between neighbouring bounds."""
    return np.stack([values[a:b].mean(0) for a, b in pairwise(bounds)])
