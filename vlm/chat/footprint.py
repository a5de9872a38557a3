"""How much memory a turn takes, from the model's sizes alone."""

from __future__ import annotations

from collections.abc import Sequence as Items

from vlm.config import ModelConfig
from vlm.records import Patches

HEADROOM = 1.1  # allocators round up, and others use the machine too


def turn_bytes(config: ModelConfig, itemsize: int, tokens: int, media: Items[Patches]) -> int:
    """Bytes beside the weights: keys and values of ``tokens``, and the tower's peak over its new media."""
    patches = sum(medium.patch_count for medium in media)
    return int(HEADROOM * (tokens * token_bytes(config, itemsize) + patches * patch_bytes(config, itemsize)))


def token_bytes(config: ModelConfig, itemsize: int) -> int:
    """Bytes of one token's keys and values in all layers."""
    d = config.decoder
    return 2 * d.num_layers * d.num_kv_heads * d.head_dim * itemsize


def patch_bytes(config: ModelConfig, itemsize: int) -> int:
    """Bytes that one patch takes at the tower's peak.

    Its pixels twice in float32 (one medium's, and all together), and either the residual stream with q, k
    and v before and after the rotation, which is float32 inside, or the hidden layer of the MLP.
    """
    v = config.vision
    attention = v.hidden_size * (6 * itemsize + 4 * 4)
    mlp = v.hidden_size * 2 * itemsize + 3 * v.intermediate_size * itemsize
    return 2 * 4 * v.patch_dim + max(attention, mlp)
