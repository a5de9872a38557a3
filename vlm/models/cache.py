"""Key/value cache: one preallocated block a layer, owned by the caller and passed into the decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from vlm.config import DecoderConfig

GROWTH = 256  # tokens; the least by which a full cache grows


class KVCache:
    """Keys and values of the tokens seen so far.

    ``length`` is the number of valid tokens. The decoder stores a chunk in every layer and then calls
    `advance`; `crop` drops a tail. Storage starts at ``capacity`` tokens and grows by an eighth or more.
    """

    def __init__(
        self,
        config: DecoderConfig,
        capacity: int = 256,
        *,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        shape = (config.num_layers, 2, batch, config.num_kv_heads, capacity, config.head_dim)
        self._store = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0

    @property
    def capacity(self) -> int:
        return self._store.shape[4]

    @property
    def nbytes(self) -> int:
        return self._store.nbytes

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store a chunk (B, Hkv, T, d) behind ``length``; returns views of all keys and values so far."""
        stop = self.length + k.shape[2]
        self.reserve(stop)
        keys, values = self._store[layer]
        keys[:, :, self.length : stop] = k
        values[:, :, self.length : stop] = v
        return keys[:, :, :stop], values[:, :, :stop]

    def fixed(self, place: Tensor) -> FixedCache:
        """The same memory for steps of fixed shape; what nobody has written becomes 0, never NaN."""
        self._store[..., self.length :, :] = 0
        return FixedCache(self._store, place)

    def advance(self, count: int) -> None:
        self.length += count

    def crop(self, length: int) -> None:
        """Forget everything behind the first ``length`` tokens."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop a cache of {self.length} tokens to {length}")
        self.length = length

    def reserve(self, length: int) -> None:
        """Make room for so many tokens in all."""
        if length <= self.capacity:
            return
        grown = max(length, self.capacity + max(GROWTH, self.capacity // 8))
        store = self._store.new_empty(*self._store.shape[:4], grown, self._store.shape[5])
        store[..., : self.length, :] = self._store[..., : self.length, :]
        self._store = store


class FixedCache:
    """A cache whose views never change: a token is written at ``place`` (1,) and all of it is returned."""

    def __init__(self, store: Tensor, place: Tensor):
        self._store, self._place = store, place

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self._store[layer]
        keys.index_copy_(2, self._place, k)
        values.index_copy_(2, self._place, v)
        return keys, values

    def advance(self, count: int) -> None:
        """Whoever moves ``place`` knows the length."""
