"""Configuration of one model, split so that each stage receives only its part.

Field names follow the checkpoints' own ``config.json``; `vlm.families` fills them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class VisionConfig:
    """Vision tower and connector."""

    depth: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    out_hidden_size: int  # the decoder's width
    patch_size: int
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    in_channels: int = 3
    norm: Literal["layer", "rms"] = "layer"
    mlp: Literal["quick_gelu", "gelu_tanh", "swiglu"] = "gelu_tanh"
    patch_bias: bool = True
    num_position_embeddings: int | None = None  # learned table, a square grid; None: rotary only
    deepstack_indexes: tuple[int, ...] = ()  # tower blocks whose output is tapped
    window_size: int | None = None  # pixels; None: every block attends to the whole frame
    full_attention_blocks: tuple[int, ...] = ()  # blocks without windows

    @property
    def patch_dim(self) -> int:
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


@dataclass(frozen=True)
class ExpertsConfig:
    """Mixture-of-experts MLP of a decoder."""

    num_experts: int
    num_experts_per_tok: int
    intermediate_size: int
    norm_topk_prob: bool = True


@dataclass(frozen=True)
class DecoderConfig:
    """Text decoder."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]  # rotary frequencies of t, h, w
    mrope_interleaved: bool
    qkv_bias: bool
    qk_norm: bool
    tie_word_embeddings: bool
    context_length: int
    experts: ExpertsConfig | None = None

    def cache_bytes(self, tokens: int, itemsize: int) -> int:
        """Bytes of the keys and values of so many tokens in all layers."""
        return tokens * 2 * self.num_layers * self.num_kv_heads * self.head_dim * itemsize


@dataclass(frozen=True)
class PixelConfig:
    """How media become patches: sizes, limits and sampling of the family's official processor."""

    patch_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    image_min_pixels: int
    image_max_pixels: int
    video_min_pixels: int  # over all frames, or per frame where `video_pixels_per_frame`
    video_max_pixels: int
    video_pixels_per_frame: bool
    frame_min_pixels: int | None = None  # a person's own limits on each frame, beside those on the whole clip
    frame_max_pixels: int | None = None
    fps: float = 2.0
    min_frames: int = 4
    max_frames: int = 768
    even_frames: bool = False  # round the frame count down to whole temporal patches
    temporal_patch_size: int = 2
    merge_size: int = 2

    @property
    def factor(self) -> int:
        """Edges of a resized picture are multiples of this many pixels: one merged cell."""
        return self.patch_size * self.merge_size


@dataclass(frozen=True)
class TokenConfig:
    """Special token ids, read from the checkpoint, and how a video is written into the prompt."""

    image: int
    video: int
    vision_start: int
    vision_end: int
    eos: tuple[int, ...]
    frame_timestamps: bool  # "<1.5 seconds>" before every temporal patch, each its own block
    seconds_to_ids: float | None = None  # tokens_per_second; None: temporal ids count patches


@dataclass(frozen=True)
class ModelConfig:
    """One checkpoint."""

    family: str
    vision: VisionConfig
    decoder: DecoderConfig
    pixels: PixelConfig
    tokens: TokenConfig
    box_scale: int | None = 1000  # boxes in answers: thousandths; None: pixels of the resized picture
    looking_heads: tuple[tuple[int, int], ...] = ()  # (layer, head) that look where the answer is about
