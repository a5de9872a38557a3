"""The whole model: the one place that joins tower, connector and decoder."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import Tensor, nn

from vlm.config import ModelConfig
from vlm.models.attention import Backend
from vlm.models.cache import KVCache
from vlm.models.connectors import Connector
from vlm.models.decoder import Decoder, DeepStack
from vlm.models.devices import to_device
from vlm.models.graphs import Graphs
from vlm.models.tower import VisionTower
from vlm.records import Patches, Sequence, VisionOut


class VisionLanguageModel(nn.Module):
    """tower → connector → decoder. Holds weights and the attention backend; nothing about any chat."""

    def __init__(self, config: ModelConfig, backend: Backend = "sdpa"):
        super().__init__()
        self.config = config
        self.backend = backend
        self.quantization = "none"  # what the weights are kept in; set by whoever swaps them from outside
        self.tower = VisionTower(config.vision)
        self.connector = Connector(config.vision)
        self.decoder = Decoder(config.decoder)
        self._graphs = Graphs()
        self.parameter_count = sum(p.numel() for p in self.parameters())  # however they are kept later

    @property
    def device(self) -> torch.device:
        return self.decoder.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.embed_tokens.weight.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and of what belongs to them, such as scales."""
        return sum(tensor.nbytes for tensor in (*self.parameters(), *self.buffers()))

    def new_cache(self, capacity: int = 256) -> KVCache:
        return KVCache(self.config.decoder, capacity, device=self.device, dtype=self.dtype)

    def encode(self, media: Items[Patches]) -> list[VisionOut]:
        """Run tower and connector over all media in one call; one VisionOut each, in order."""
        if not media:
            return []
        own = [patches.pixels for patches in media]
        pixels = to_device(own[0] if len(own) == 1 else torch.cat(own), self.device)  # (P, patch_dim)
        grids = tuple(patches.grid_thw for patches in media)
        features, taps = self.connector(*self.tower(pixels, grids, self.backend))  # (V, D)
        sizes = [patches.tokens for patches in media]
        parts = zip(features.split(sizes), *(tap.split(sizes) for tap in taps), strict=True)
        return [
            VisionOut(own, tuple(own_taps), patches.grid_thw, patches.digest)
            for patches, (own, *own_taps) in zip(media, parts, strict=True)
        ]

    def forward(
        self,
        sequence: Sequence,
        vision: Items[VisionOut],
        cache: KVCache | None = None,
        stop: int | None = None,
    ) -> Tensor:
        """Hidden states (T', D) of the tokens from the cache's length (or 0) up to ``stop``.

        ``vision`` is parallel to ``sequence.media``. Chunks of any split give the same result.
        """
        start = cache.length if cache is not None else 0
        stop = len(sequence) if stop is None else stop
        embeds, deepstack = self.embed(sequence, vision, start, stop)
        positions = sequence.positions[:, None, start:stop].to(self.device)  # (3, 1, T')
        hidden = self.decoder(embeds[None], positions, cache=cache, deepstack=deepstack, backend=self.backend)
        return hidden[0]

    def step(self, token: int, position: int, cache: KVCache) -> Tensor:
        """Logits (vocabulary,) after one generated token at ``position`` on all three axes."""
        if self.device.type == "cuda":
            logits = self._graphs.step(self.decoder, token, position, cache)
            if logits is not None:
                return logits
        return self.steps([token], position, cache)[0]

    def steps(self, tokens: Items[int], position: int, cache: KVCache) -> Tensor:
        """Logits (N, vocabulary) after each of N text tokens, the first of them at ``position``."""
        ids = torch.tensor([tokens], device=self.device)
        positions = torch.arange(position, position + len(tokens), device=self.device).expand(3, 1, -1)
        hidden = self.decoder(self.decoder.embed_tokens(ids), positions, cache=cache, backend=self.backend)
        return self.decoder.logits(hidden[0])

    def embed(
        self, sequence: Sequence, vision: Items[VisionOut], start: int, stop: int
    ) -> tuple[Tensor, DeepStack | None]:
        """Token embeddings (T', D) of a slice with vision features in place, and its taps."""
        embeds = self.decoder.embed_tokens(sequence.ids[start:stop].to(self.device))
        rows, features, taps = [], [], []
        for span in sequence.spans:
            low, high = max(span.start, start), min(span.stop, stop)
            if span.media is None or low >= high:
                continue
            out = vision[span.media]
            first = span.frame * span.cells[1] * span.cells[2] - span.start
            rows.append(torch.arange(low - start, high - start, device=self.device))
            features.append(out.features[first + low : first + high])
            taps.append([tap[first + low : first + high] for tap in out.taps])
        if not rows:
            return embeds, None
        where = torch.cat(rows)
        embeds = embeds.index_copy(0, where, torch.cat(features).to(embeds.dtype))
        return embeds, DeepStack(where, tuple(torch.cat(level) for level in zip(*taps, strict=True)))
