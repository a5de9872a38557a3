"""Vision tower: patches in, patch features and DeepStack taps out.

One class serves Qwen2-VL (arXiv 2409.12191), Qwen2.5-VL (arXiv 2502.13923: windows, RMSNorm, SwiGLU) and
Qwen3-VL (arXiv 2511.21631: learned positions, taps); `VisionConfig` says which parts a checkpoint has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from vlm.config import VisionConfig
from vlm.models.attention import Backend, attend_segments
from vlm.models.grid import Grid, frame_segments, interpolate_table, patch_coordinates, window_order
from vlm.models.layers import Embedding, make_norm, make_vision_mlp
from vlm.models.linear import Linear
from vlm.models.rope import rotate, vision_table
from vlm.models.varlen import Segments

ROWS = 4096  # patches that go through norms and products at once; from there on a product gains nothing


def by_rows(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function(*tensors)`` where each row depends on its own row only.

    Without gradients it goes piece by piece, so that what is made on the way (float32 copies, the MLP's
    hidden layer) takes the memory of `ROWS` rows and not of a picture of 65,536 patches.
    """
    if torch.is_grad_enabled() or len(tensors[0]) <= ROWS:
        return function(*tensors)
    out, start = None, 0
    for pieces in zip(*(tensor.split(ROWS) for tensor in tensors), strict=True):
        piece = function(*pieces)
        out = piece.new_empty(len(tensors[0]), *piece.shape[1:]) if out is None else out
        out[start : start + len(piece)] = piece
        start += len(piece)
    return out


@dataclass(frozen=True)
class Layout:
    """An order of the patches in which attention segments lie end to end."""

    rope: tuple[Tensor, Tensor]
    segments: Segments
    order: Tensor | None = None  # None: the natural merge-block order
    inverse: Tensor | None = None

    def enter(self, x: Tensor) -> Tensor:
        return x if self.order is None else x[self.order]

    def leave(self, x: Tensor) -> Tensor:
        return x if self.inverse is None else x[self.inverse]


class VisionAttention(nn.Module):
    """Self-attention inside each segment (a frame or a window)."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.heads = config.num_heads
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], segments: Segments, backend: Backend) -> Tensor:
        seen = attend_segments(*by_rows(self._rotated, x, *rope).unbind(1), segments, backend)  # (P, H, d)
        return self.proj(seen.flatten(1))  # (P, D)

    def _rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(P, D) → (P, 3, H, d): queries and keys turned by their places, and values."""
        q, k, v = self.qkv(x).view(len(x), 3, self.heads, -1).unbind(1)
        return torch.stack((rotate(q, cos, sin), rotate(k, cos, sin), v), dim=1)


class VisionBlock(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.norm1 = make_norm(config.norm, config.hidden_size)
        self.norm2 = make_norm(config.norm, config.hidden_size)
        self.attn = VisionAttention(config)
        self.mlp = make_vision_mlp(config.mlp, config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], segments: Segments, backend: Backend) -> Tensor:
        x = x + self.attn(by_rows(self.norm1, x), rope, segments, backend)
        return by_rows(self._through_mlp, x)

    def _through_mlp(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm2(x))


class VisionTower(nn.Module):
    """Transformer over patches; attention never crosses frames."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        # The official Conv3d has stride = kernel, so it is a product over flattened patches.
        self.patch_embed = Linear(config.patch_dim, config.hidden_size, bias=config.patch_bias)
        self.pos_embed = None
        if config.num_position_embeddings:
            self.pos_embed = Embedding(config.num_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.depth))

    def forward(
        self, pixels: Tensor, grids: tuple[Grid, ...], backend: Backend = "sdpa"
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode the packed patches of all media at once.

        Args:
            pixels: (P, C * temporal_patch_size * patch_size²) in merge-block order.
            grids: (t, h, w) in patches, one for each medium, in the order they are packed.

        Returns:
            Features (P, D) and one (P, D) tensor for each tapped block, all in merge-block order.
        """
        x = self.patch_embed(pixels.to(self.patch_embed.weight.dtype))  # (P, D)
        if self.pos_embed is not None:
            merge = self.config.spatial_merge_size  # nothing holds the table: it is float32, and large
            x = x + interpolate_table(self.pos_embed.weight, grids, merge).to(x.dtype)
        natural, windowed = layouts(self.config, grids, x.device)
        taps = []
        for index, block in enumerate(self.blocks):
            layout = natural if index in self.config.full_attention_blocks else windowed
            x = layout.leave(block(layout.enter(x), layout.rope, layout.segments, backend))
            if index in self.config.deepstack_indexes:
                taps.append(x)
        return x, taps


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # training may use them too
def layouts(config: VisionConfig, grids: tuple[Grid, ...], device: torch.device) -> tuple[Layout, Layout]:
    """Whole frames, and windows where the tower has them (else whole frames again)."""
    merge = config.spatial_merge_size
    coordinates = patch_coordinates(grids, merge).to(device)
    natural = Layout(vision_table(coordinates, config.head_dim), frame_segments(grids))
    if not config.window_size:
        return natural, natural
    cells = config.window_size // config.patch_size // merge
    order, inverse, segments = window_order(grids, merge, cells)
    rope = tuple(table[order] for table in natural.rope)
    return natural, Layout(rope, segments, order.to(device), inverse.to(device))
