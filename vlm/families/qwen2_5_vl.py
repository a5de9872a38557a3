"""Qwen2.5-VL (arXiv 2502.13923): 3B, 7B, 32B, 72B. Windows in the tower, seconds in the temporal ids."""

from __future__ import annotations

from vlm.config import ModelConfig, VisionConfig
from vlm.families.base import CLIP_MEAN, CLIP_STD, Family, Files, Json, read_decoder, read_pixels, read_tokens
from vlm.families.qwen2_vl import IMAGE_LIMITS, LAYOUTS

TOKENS_PER_SECOND = 2  # every checkpoint on the hub; the class default of 4 is used by none
# Configs that transformers 4 wrote leave out whatever equals its class defaults.
_DEFAULTS = {
    "depth": 32,
    "num_heads": 16,
    "intermediate_size": 3420,
    "patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": (7, 15, 23, 31),
}


def _vision(vision: Json) -> VisionConfig:
    vision = {**_DEFAULTS, **vision}
    return VisionConfig(
        depth=vision["depth"],
        hidden_size=vision["hidden_size"],
        num_heads=vision["num_heads"],
        intermediate_size=vision["intermediate_size"],
        out_hidden_size=vision["out_hidden_size"],
        patch_size=vision["patch_size"],
        temporal_patch_size=vision.get("temporal_patch_size", 2),
        spatial_merge_size=vision.get("spatial_merge_size", 2),
        in_channels=vision.get("in_channels", vision.get("in_chans", 3)),
        norm="rms",
        mlp="swiglu",
        patch_bias=False,
        window_size=vision["window_size"],
        full_attention_blocks=tuple(int(index) for index in vision["fullatt_block_indexes"]),
    )


def _read(files: Files) -> ModelConfig:
    vision = _vision(files.config["vision_config"])
    per_second = files.config["vision_config"].get("tokens_per_second", TOKENS_PER_SECOND)
    return ModelConfig(
        family="qwen2_5_vl",
        vision=vision,
        decoder=read_decoder(files.config, interleaved=False, qkv_bias=True, qk_norm=False),
        pixels=read_pixels(
            files, vision, mean=CLIP_MEAN, std=CLIP_STD, image_limits=IMAGE_LIMITS, video_limits=None
        ),
        tokens=read_tokens(files, frame_timestamps=False, seconds_to_ids=per_second),
        box_scale=None,
    )


FAMILY = Family("qwen2_5_vl", _read, LAYOUTS)
