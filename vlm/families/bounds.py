"""What a config may say: anybody can write one, and sizes from it must not be believed blindly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

from vlm.config import DecoderConfig, ModelConfig, PixelConfig, VisionConfig
from vlm.records import InputError

# Least and most of every figure, a generous step above the largest official model. Floats where one is given.
BOUNDS = {
    "depth": (1, 512),
    "num_layers": (1, 1024),
    "hidden_size": (1, 65_536),
    "out_hidden_size": (1, 65_536),
    "intermediate_size": (1, 1_048_576),
    "num_heads": (1, 1024),
    "num_kv_heads": (1, 1024),
    "head_dim": (2, 4096),
    "vocab_size": (1, 16_777_216),
    "context_length": (1, 2**31),
    "num_experts": (1, 4096),
    "num_experts_per_tok": (1, 4096),
    "rms_norm_eps": (0.0, 1.0),
    "rope_theta": (1.0, 1e12),
    "patch_size": (1, 256),
    "temporal_patch_size": (1, 64),
    "spatial_merge_size": (1, 16),
    "merge_size": (1, 16),
    "in_channels": (3, 3),
    "num_position_embeddings": (1, 1_048_576),
    "window_size": (1, 65_536),
    "image_min_pixels": (1, 2**32),
    "image_max_pixels": (1, 2**32),
    "video_min_pixels": (1, 2**36),
    "video_max_pixels": (1, 2**36),
    "fps": (0.001, 1000.0),
    "min_frames": (1, 100_000),
    "max_frames": (1, 100_000),
}


def check(config: ModelConfig) -> ModelConfig:
    """``config`` itself.

    Raises:
        InputError: figures that no model can have, all of them named.
    """
    parts = [config.vision, config.decoder, config.pixels]
    parts += [config.decoder.experts] if config.decoder.experts else []
    wrong = [complaint for part in parts for complaint in _outside(part)]
    wrong = wrong or [
        *_tower(config.vision),
        *_decoder(config.decoder),
        *_pixels(config.pixels),
        *_tokens(config),
    ]
    if wrong:
        raise InputError(f"the model's config cannot be right: {'; '.join(wrong)}")
    return config


def _outside(part: object) -> Iterator[str]:
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name not in BOUNDS or (value is None and field.default is None):
            continue
        low, high = BOUNDS[field.name]
        kind = (int, float) if isinstance(low, float) else int
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            yield f"{field.name} is {str(value)[:40]} (between {low:,} and {high:,})"


def _tower(vision: VisionConfig) -> Iterator[str]:
    if vision.hidden_size % vision.num_heads or vision.head_dim % 4:
        yield f"the tower's width {vision.hidden_size} does not divide into {vision.num_heads} heads"
    table = vision.num_position_embeddings
    if table and math.isqrt(table) ** 2 != table:
        yield f"num_position_embeddings {table} is no square"
    for blocks in (vision.deepstack_indexes, vision.full_attention_blocks):
        if not all(isinstance(block, int) and 0 <= block < vision.depth for block in blocks):
            yield f"blocks {str(blocks)[:40]} of a tower with {vision.depth}"


def _decoder(decoder: DecoderConfig) -> Iterator[str]:
    if decoder.num_heads % decoder.num_kv_heads:
        yield f"{decoder.num_heads} heads do not share {decoder.num_kv_heads} key heads"
    section = decoder.mrope_section
    if len(section) != 3 or not all(isinstance(n, int) and n >= 0 for n in section):
        yield f"mrope_section is {str(section)[:40]} (three numbers)"
    elif 2 * sum(section) != decoder.head_dim:
        yield f"mrope_section {section} does not fill a head of {decoder.head_dim}"
    if decoder.experts and decoder.experts.num_experts_per_tok > decoder.experts.num_experts:
        yield f"{decoder.experts.num_experts_per_tok} experts a token of {decoder.experts.num_experts}"


def _pixels(pixels: PixelConfig) -> Iterator[str]:
    for name in ("image_mean", "image_std"):
        values = getattr(pixels, name)
        if len(values) != 3 or not all(isinstance(v, float | int) and math.isfinite(v) for v in values):
            yield f"{name} is {str(values)[:40]} (three numbers)"
        elif name == "image_std" and min(values) <= 0:
            yield f"image_std is {values} (above 0)"
    if pixels.image_min_pixels > pixels.image_max_pixels or pixels.video_min_pixels > pixels.video_max_pixels:
        yield "the least number of pixels is above the most"


def _tokens(config: ModelConfig) -> Iterator[str]:
    tokens, size = config.tokens, BOUNDS["vocab_size"][1]
    for token in (tokens.image, tokens.video, tokens.vision_start, tokens.vision_end, *tokens.eos):
        if not isinstance(token, int) or not 0 <= token < size:
            yield f"token id {str(token)[:40]} (below {size:,})"
    rate = tokens.seconds_to_ids
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate <= 1000):
        yield f"tokens_per_second is {str(rate)[:40]}"
