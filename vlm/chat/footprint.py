"""How much memory a turn takes, from the model's sizes alone."""

from __future__ import annotations

from collections.abc import Sequence as Items

from vlm.config import ModelConfig
from vlm.records import Patches

HEADROOM = 1.1  # allocators round up, and others use the machine too


def turn_bytes(config: ModelConfig, itemsize: int, tokens: int, media: Items[Patches]) -> int:
    """Bytes beside the weights: keys and values of ``tokens``, and the tower's peak over its new media."""
    patches = sum(medium.patch_count for medium in media)
    return int(HEADROOM * (config.decoder.cache_bytes(tokens, itemsize) + patches * patch_bytes(config)))


def patch_bytes(config: ModelConfig) -> int:
    """Bytes that one patch takes at the tower's peak: its pixels twice in float32 and, in bfloat16, the
    residual stream, q, k and v around the rotation (float32 inside) and the MLP's hidden layer.

    The 64 bytes for each of the tower's channels are measured: 33 to 64 on a CPU at the widths of
    Qwen2-VL-2B, Qwen2.5-VL-3B and 7B, and Qwen3-VL-2B, with 3,000 to 16,000 patches.
    """
    return 2 * 4 * config.vision.patch_dim + 64 * config.vision.hidden_size
