"""Attention maps of the official code: its eager path, told to hand over the weights that it computes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index
from twins import Twin


@dataclass
class Maps:
    """``text[l]`` is (H, T, T); ``tower[b]`` the (H, L, L) of block b's segments, one behind the other."""

    text: list[Tensor] = field(default_factory=list)
    tower: dict[int, list[Tensor]] = field(default_factory=dict)

    def whole(self, block: int, order: Tensor) -> Tensor:
        """(H, P, P) of a tower block with zeros across segments, in the patches' natural order.

        Args:
            order: natural index of each place of the official order.
        """
        packed = torch.stack([torch.block_diag(*rows) for rows in zip(*self.tower[block], strict=True)])
        natural = torch.zeros_like(packed)
        natural[:, order[:, None], order[None]] = packed
        return natural


@contextmanager
def eager_maps(twin: Twin):
    """Everything the reference attends to inside this context."""
    module = sys.modules[type(twin.reference).__module__]
    usual, maps = module.eager_attention_forward, Maps()
    blocks = {id(block.attn): index for index, block in enumerate(twin.reference.model.visual.blocks)}

    def noted(attention, *args, **kwargs):
        out, weights = usual(attention, *args, **kwargs)
        if id(attention) in blocks:
            maps.tower.setdefault(blocks[id(attention)], []).append(weights[0])
        else:
            maps.text.append(weights[0])
        return out, weights

    before = twin.reference.config._attn_implementation
    module.eager_attention_forward = noted
    twin.reference.set_attn_implementation("eager")
    try:
        yield maps
    finally:
        module.eager_attention_forward = usual
        twin.reference.set_attn_implementation(before)


def official_order(twin: Twin, grid: tuple[int, int, int]) -> Tensor:
    """Natural patch index of each place of the order in which the reference's tower works."""
    vision = twin.reference.config.vision_config
    patches = torch.arange(grid[0] * grid[1] * grid[2])
    if not hasattr(vision, "window_size"):
        return patches
    sizes = vision.spatial_merge_size, vision.window_size, vision.patch_size
    cells, _ = get_vision_window_index(torch.tensor([grid]), *sizes)
    return patches.view(-1, vision.spatial_merge_size**2)[cells].flatten()
