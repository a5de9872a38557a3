"""Qwen2-VL (arXiv 2409.12191): 2B, 7B, 72B."""

from __future__ import annotations

from vlm.config import ModelConfig, VisionConfig
from vlm.families.base import (
    CLIP_MEAN,
    CLIP_STD,
    Family,
    Files,
    Json,
    Renames,
    read_decoder,
    read_pixels,
    read_tokens,
)

IMAGE_LIMITS = (3_136, 12_845_056)  # pixels, preprocessor_config.json on the hub


def _renames(visual: str, text: str) -> Renames:
    return (
        ("tower.patch_embed.", f"{visual}patch_embed.proj."),
        ("tower.", visual),
        ("connector.merger.norm.", f"{visual}merger.ln_q."),
        ("connector.merger.fc1.", f"{visual}merger.mlp.0."),
        ("connector.merger.fc2.", f"{visual}merger.mlp.2."),
        ("decoder.lm_head.", "lm_head."),
        ("decoder.", text),
    )


# The hub's names, and those that transformers 4.52 and later use in memory.
LAYOUTS = (_renames("visual.", "model."), _renames("model.visual.", "model.language_model."))


# Configs that transformers 4 wrote leave out whatever equals its class defaults.
_DEFAULTS = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14}


def _vision(vision: Json) -> VisionConfig:
    vision = {**_DEFAULTS, **vision}
    return VisionConfig(
        depth=vision["depth"],
        hidden_size=vision["embed_dim"],
        num_heads=vision["num_heads"],
        intermediate_size=int(vision["embed_dim"] * vision["mlp_ratio"]),
        out_hidden_size=vision["hidden_size"],
        patch_size=vision["patch_size"],
        temporal_patch_size=vision.get("temporal_patch_size", 2),
        spatial_merge_size=vision.get("spatial_merge_size", 2),
        in_channels=vision.get("in_channels", vision.get("in_chans", 3)),
        mlp="quick_gelu",
        patch_bias=False,
    )


def _read(files: Files) -> ModelConfig:
    vision = _vision(files.config["vision_config"])
    return ModelConfig(
        family="qwen2_vl",
        vision=vision,
        decoder=read_decoder(files.config, interleaved=False, qkv_bias=True, qk_norm=False),
        pixels=read_pixels(
            files, vision, mean=CLIP_MEAN, std=CLIP_STD, image_limits=IMAGE_LIMITS, video_limits=None
        ),
        tokens=read_tokens(files, frame_timestamps=False),
    )


FAMILY = Family("qwen2_vl", _read, LAYOUTS)
