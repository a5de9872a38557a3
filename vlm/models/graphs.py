"""One decoding step as a CUDA graph: the same kernels on the same memory, launched as one.

Everything that changes from token to token lies in tensors of fixed shape: the token, its position, the place
in the cache that is written, and the mask of what may be seen. The whole capacity of the cache is attended
to; when it grows, the step is captured again. Not run on a GPU yet; a test runs the step itself on a CPU.
"""

from __future__ import annotations

import logging
import weakref

import torch
from torch import Tensor

from vlm.models.cache import KVCache
from vlm.models.decoder import Decoder

log = logging.getLogger(__name__)


class StaticStep:
    """A step of a decoder on one cache, with fixed shapes and addresses."""

    def __init__(self, decoder: Decoder, cache: KVCache):
        device = decoder.embed_tokens.weight.device
        self.decoder, self.capacity = decoder, cache.capacity
        self.ids = torch.zeros(1, 1, dtype=torch.int64, device=device)
        self.positions = torch.zeros(3, 1, 1, dtype=torch.int64, device=device)
        self.place = torch.zeros(1, dtype=torch.int64, device=device)
        self._keys = torch.arange(self.capacity, device=device)
        self._store = cache.fixed(self.place)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: Tensor | None = None

    def __call__(self, token: int, position: int, length: int) -> Tensor:
        """Logits (vocabulary,) after ``token``, which goes behind ``length`` tokens in the cache."""
        self.ids.fill_(token)
        self.positions.fill_(position)
        self.place.fill_(length)
        if self._graph is None:
            return self.run()
        self._graph.replay()
        return self._logits

    def run(self) -> Tensor:
        """What the graph captures."""
        mask = (self._keys <= self.place).view(1, 1, 1, -1)
        x = self.decoder.embed_tokens(self.ids)
        hidden = self.decoder(x, self.positions, cache=self._store, mask=mask)
        return self.decoder.logits(hidden[0])[0]

    def capture(self) -> None:
        """Run a few times, as capturing asks for, then record."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._logits = self.run()
        self._graph = graph


class Graphs:
    """The captured steps of one decoder, one for each cache that lives."""

    def __init__(self):
        self._steps: weakref.WeakKeyDictionary[KVCache, StaticStep] = weakref.WeakKeyDictionary()
        self._usable = True

    def step(self, decoder: Decoder, token: int, position: int, cache: KVCache) -> Tensor | None:
        """Logits (vocabulary,), or None where this decoder cannot be captured."""
        if not self._usable or decoder.config.experts is not None:  # which experts run is decided on the host
            return None
        cache.reserve(cache.length + 1)
        known = self._steps.get(cache)
        if known is None or known.capacity != cache.capacity:
            known = StaticStep(decoder, cache)
            try:
                known.place.fill_(cache.length)  # capturing writes there: the next token's place
                known.capture()
            except Exception as error:  # whatever it raises, it means the same: not here
                log.warning("decoding without CUDA graphs: %s", error)
                self._usable = False
                return None
            self._steps[cache] = known
        logits = known(token, position, cache.length)
        cache.advance(1)
        return logits
