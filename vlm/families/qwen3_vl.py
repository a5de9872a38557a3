"""Qwen3-VL (arXiv 2511.21631): dense 2B, 4B, 8B, 32B and the A3B / A22B mixtures of experts."""

from __future__ import annotations

from vlm.config import ModelConfig, VisionConfig
from vlm.families.base import HALF, Family, Files, Json, read_decoder, read_pixels, read_tokens

IMAGE_LIMITS = (65_536, 16_777_216)  # pixels, preprocessor_config.json on the hub
VIDEO_LIMITS = (4_096, 25_165_824)  # pixels over all frames, video_preprocessor_config.json

LAYOUTS = (
    (
        ("tower.patch_embed.", "model.visual.patch_embed.proj."),
        ("tower.", "model.visual."),
        ("connector.tap_mergers.", "model.visual.deepstack_merger_list."),
        ("connector.merger.", "model.visual.merger."),
        (".fc1.", ".linear_fc1."),
        (".fc2.", ".linear_fc2."),
        ("decoder.lm_head.", "lm_head."),
        ("decoder.", "model.language_model."),
        (".mlp.gate_up_proj", ".mlp.experts.gate_up_proj"),
    ),
)
MOE_LAYOUTS = tuple((*layout, (".mlp.down_proj", ".mlp.experts.down_proj")) for layout in LAYOUTS)


def _vision(vision: Json) -> VisionConfig:
    return VisionConfig(
        depth=vision["depth"],
        hidden_size=vision["hidden_size"],
        num_heads=vision["num_heads"],
        intermediate_size=vision["intermediate_size"],
        out_hidden_size=vision["out_hidden_size"],
        patch_size=vision["patch_size"],
        temporal_patch_size=vision.get("temporal_patch_size", 2),
        spatial_merge_size=vision.get("spatial_merge_size", 2),
        in_channels=vision.get("in_channels", 3),
        num_position_embeddings=vision["num_position_embeddings"],
        deepstack_indexes=tuple(vision["deepstack_visual_indexes"]),
    )


def _read(files: Files) -> ModelConfig:
    vision = _vision(files.config["vision_config"])
    return ModelConfig(
        family="qwen3_vl",
        vision=vision,
        decoder=read_decoder(files.config, interleaved=True, qkv_bias=False, qk_norm=True),
        pixels=read_pixels(
            files, vision, mean=HALF, std=HALF, image_limits=IMAGE_LIMITS, video_limits=VIDEO_LIMITS
        ),
        tokens=read_tokens(files, frame_timestamps=True),
    )


FAMILY = Family("qwen3_vl", _read, LAYOUTS)
MOE_FAMILY = Family("qwen3_vl_moe", _read, MOE_LAYOUTS)
