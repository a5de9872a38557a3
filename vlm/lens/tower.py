"""Where a patch looks inside the vision tower, with the window or frame that bounds it."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vlm.config import PixelConfig
from vlm.inputs.patches import with_pixels
from vlm.lens.replay import attention_weights
from vlm.models.model import VisionLanguageModel
from vlm.models.rope import rotate
from vlm.models.tower import layouts
from vlm.models.varlen import Segments
from vlm.records import Patches


@dataclass(frozen=True)
class PatchLook:
    """Attention of one patch on the patches of its frame.

    ``weights`` is (h, w) float32 in patches, their sum is 1; ``inside`` (h, w) bool, True where the patch may
    look in this block: its window, or the whole frame.
    """

    weights: np.ndarray
    inside: np.ndarray
    windowed: bool


class TowerView:
    """One frame of a medium in the tower: what enters each block's attention, kept for as long as this lives.

    The tower is run once over the frame (attention never crosses frames); after that every patch, block and
    head is a small product.
    """

    def __init__(self, model: VisionLanguageModel, pixels: PixelConfig, patches: Patches, frame: int = 0):
        self._model = model
        self.grid = (1, *patches.grid_thw[1:])
        self._entering: list[tuple] = []  # of each block: x (P, D), rope and segments, in the block's order
        whole = with_pixels(patches, pixels).pixels
        count = self.grid[1] * self.grid[2]
        self._patches = replace(patches, grid_thw=self.grid)
        self._run(whole[frame * count : (frame + 1) * count])

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x, *_ in self._entering)

    @torch.inference_mode()
    def look(self, row: int, column: int, block: int, heads: Items[int] = (), how: str = "mean") -> PatchLook:
        """Where the patch at (row, column) looks in ``block``; ``heads`` none means all of them.

        Raises:
            ValueError: no such patch, block or head.
        """
        _, rows, columns = self.grid
        if not (0 <= row < rows and 0 <= column < columns and 0 <= block < len(self._entering)):
            raise ValueError(f"no patch ({row}, {column}) or block {block}")
        natural = [self._patches.patch_place(index)[1:] for index in range(rows * columns)]
        order = self._order(block)
        place = order.index(natural.index((row, column)))
        x, rope, segments = self._entering[block]
        start, stop = _segment(segments, place)
        weights = self._weights(block, x[start:stop], [t[start:stop] for t in rope], place - start)
        weights = weights[list(heads)] if heads else weights
        found = weights.mean(0) if how == "mean" else weights.amax(0)
        shown, inside = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), bool)
        for index, value in zip(order[start:stop], found.tolist(), strict=True):
            shown[natural[index]], inside[natural[index]] = value, True
        return PatchLook(shown, inside, windowed=len(segments) > 1 or segments[0][0] > 1)

    def _weights(self, block: int, x: Tensor, rope: Items[Tensor], place: int) -> Tensor:
        """(H, L) of the patch at ``place`` of its segment."""
        attention = self._model.tower.blocks[block].attn
        q, k, _ = attention.qkv(x).view(len(x), 3, attention.heads, -1).unbind(1)  # (L, H, d) each
        q, k = (rotate(part, *rope).transpose(0, 1) for part in (q, k))
        return attention_weights(q[:, place : place + 1], k)[:, 0].cpu()

    @torch.inference_mode()
    def _run(self, pixels: Tensor) -> None:
        def note(module, args: tuple) -> None:
            x, rope, segments, _ = args
            self._entering.append((x, rope, segments))

        tower = self._model.tower
        hooks = [block.attn.register_forward_pre_hook(note) for block in tower.blocks]
        try:
            tower(pixels.to(self._model.device), (self.grid,), self._model.backend)
        finally:
            for hook in hooks:
                hook.remove()

    def _order(self, block: int) -> list[int]:
        """Natural index of each place of the block's own order."""
        config = self._model.config.vision
        natural, windowed = layouts(config, (self.grid,), self._model.device)
        order = (natural if block in config.full_attention_blocks else windowed).order
        return list(range(self.grid[1] * self.grid[2])) if order is None else order.tolist()


def _segment(segments: Segments, place: int) -> tuple[int, int]:
    """Start and stop of the segment that holds a place."""
    start = 0
    for count, length in segments:
        if place < start + count * length:
            start += (place - start) // length * length
            return start, start + length
        start += count * length
    raise ValueError(f"place {place} lies behind the last segment")
