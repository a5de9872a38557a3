"""What every recipe provides, and how the official JSON files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlm.config import DecoderConfig, ExpertsConfig, ModelConfig, PixelConfig, TokenConfig, VisionConfig
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.model import VisionLanguageModel

Json = Mapping[str, Any]
# Pairs (our part of a name, official part), applied in order: our parameter name becomes the official one.
Renames = tuple[tuple[str, str], ...]

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Files:
    """The JSON files of a checkpoint folder; a missing file is an empty mapping."""

    config: Json
    preprocessor: Json
    video_preprocessor: Json
    generation: Json
    lens: Json = field(default_factory=dict)  # which heads look where an answer is about; ours, not the hub's


@dataclass(frozen=True)
class Family:
    """A recipe.

    ``layouts`` are the official namings of the weights, the one we save first.
    """

    model_type: str
    read: Callable[[Files], ModelConfig]
    layouts: tuple[Renames, ...]


@dataclass(frozen=True)
class Checkpoint:
    """An opened model: everything a chat needs. ``folder`` is where its files came from.

    ``quantize`` is what the decoder's matrices are in, ``quantize_reason`` the sentence that says why.
    """

    name: str
    folder: Path
    config: ModelConfig
    model: VisionLanguageModel
    tokenizer: Tokenizer
    quantize: str = "none"
    quantize_reason: str = ""


def with_heads(config: ModelConfig, lens: Json) -> ModelConfig:
    """The config with the heads that ``lens.json`` names, as far as the model has them."""
    layers, heads = range(config.decoder.num_layers), range(config.decoder.num_heads)
    named = lens.get("heads") if isinstance(lens, Mapping) else None
    pairs = [pair for pair in named if isinstance(pair, list) and len(pair) == 2] if named else []
    kept = tuple((layer, head) for layer, head in pairs if layer in layers and head in heads)
    return replace(config, looking_heads=kept)


def read_decoder(config: Json, *, interleaved: bool, qkv_bias: bool, qk_norm: bool) -> DecoderConfig:
    """Text part of a config, nested under ``text_config`` or flat as on the hub for Qwen2 and 2.5."""
    text = config.get("text_config") or config
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    heads = text["num_attention_heads"]
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    return DecoderConfig(
        hidden_size=text["hidden_size"],
        num_layers=text["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=text["num_key_value_heads"],
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        intermediate_size=text["intermediate_size"],
        vocab_size=text["vocab_size"],
        rms_norm_eps=text["rms_norm_eps"],
        rope_theta=float(rope.get("rope_theta") or text["rope_theta"]),
        mrope_section=tuple(rope["mrope_section"]),
        mrope_interleaved=interleaved,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        tie_word_embeddings=tied,
        context_length=text["max_position_embeddings"],
        experts=_read_experts(text),
    )


def _read_experts(text: Json) -> ExpertsConfig | None:
    count = text.get("num_experts") or text.get("num_local_experts")  # transformers 5 saves the latter
    if not count:
        return None
    return ExpertsConfig(
        num_experts=count,
        num_experts_per_tok=text["num_experts_per_tok"],
        intermediate_size=text["moe_intermediate_size"],
        norm_topk_prob=text.get("norm_topk_prob", True),
    )


def read_limits(preprocessor: Json, default: tuple[int, int]) -> tuple[int, int]:
    """(min, max) pixels, from ``size`` or from the older ``min_pixels`` / ``max_pixels``."""
    size = preprocessor.get("size") or {}
    low = size.get("shortest_edge") or preprocessor.get("min_pixels") or default[0]
    high = size.get("longest_edge") or preprocessor.get("max_pixels") or default[1]
    return low, high


def read_tokens(files: Files, *, frame_timestamps: bool, seconds_to_ids: float | None = None) -> TokenConfig:
    config = files.config
    text = config.get("text_config") or config
    eos = files.generation.get("eos_token_id", text.get("eos_token_id", config.get("eos_token_id", ())))
    if eos is None:
        eos = ()
    return TokenConfig(
        image=config["image_token_id"],
        video=config["video_token_id"],
        vision_start=config["vision_start_token_id"],
        vision_end=config["vision_end_token_id"],
        eos=tuple(eos) if isinstance(eos, list | tuple) else (eos,),
        frame_timestamps=frame_timestamps,
        seconds_to_ids=seconds_to_ids,
    )


def read_pixels(
    files: Files,
    vision: VisionConfig,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    image_limits: tuple[int, int],
    video_limits: tuple[int, int] | None,
) -> PixelConfig:
    """Media limits; ``video_limits`` None means the image limits hold for each frame of a video."""
    low, high = read_limits(files.preprocessor, image_limits)
    video = files.video_preprocessor
    video_low, video_high = read_limits(video, video_limits) if video_limits else (low, high)
    return PixelConfig(
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
        image_mean=tuple(files.preprocessor.get("image_mean", mean)),
        image_std=tuple(files.preprocessor.get("image_std", std)),
        image_min_pixels=low,
        image_max_pixels=high,
        video_min_pixels=video_low,
        video_max_pixels=video_high,
        video_pixels_per_frame=video_limits is None,
        even_frames=video_limits is None,
        fps=float(video.get("fps", 2.0)),
        min_frames=video.get("min_frames", 4),
        max_frames=video.get("max_frames", 768),
    )
