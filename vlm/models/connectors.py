"""Connector: merges 2 × 2 neighbouring patches into one vision token of the decoder's width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vlm.config import VisionConfig
from vlm.models.layers import make_norm
from vlm.models.linear import Linear


class PatchMerger(nn.Module):
    """Norm, shuffle, two-layer MLP with exact GELU.

    The main merger normalises patches and then shuffles; a DeepStack merger (``norm_after_shuffle``)
    shuffles first, so its norm sees the whole cell.
    """

    def __init__(self, config: VisionConfig, norm_after_shuffle: bool = False):
        super().__init__()
        self.cell_width = config.hidden_size * config.spatial_merge_size**2
        self.norm_after_shuffle = norm_after_shuffle
        self.norm = make_norm(config.norm, self.cell_width if norm_after_shuffle else config.hidden_size)
        self.fc1 = Linear(self.cell_width, self.cell_width)
        self.fc2 = Linear(self.cell_width, config.out_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(P, D_tower) in merge-block order → (V, D_decoder)."""
        if self.norm_after_shuffle:
            x = self.norm(x.reshape(-1, self.cell_width))  # (V, merge² D)
        else:
            x = self.norm(x).reshape(-1, self.cell_width)  # (V, merge² D)
        return self.fc2(F.gelu(self.fc1(x)))


class Connector(nn.Module):
    """The main merger and one DeepStack merger for each tapped block."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.merger = PatchMerger(config)
        self.tap_mergers = nn.ModuleList(
            PatchMerger(config, norm_after_shuffle=True) for _ in config.deepstack_indexes
        )

    def forward(self, x: Tensor, taps: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tower features and taps, each (P, D_tower) → features and taps, each (V, D_decoder)."""
        merged = tuple(merger(tap) for merger, tap in zip(self.tap_mergers, taps, strict=True))
        return self.merger(x), merged
