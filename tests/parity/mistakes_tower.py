"""Mistakes in the tower and with DeepStack, each as a change that can be put in for one test.

A mistake takes pytest's monkeypatch and a twin; `test_mistakes.py` says which comparison must see it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vlm.models import grid, rope, tower
from vlm.models.connectors import PatchMerger
from vlm.models.decoder import DeepStack
from vlm.models.model import VisionLanguageModel


def windows_not_inverted(patch, twin):
    patch.setattr(tower.Layout, "leave", lambda self, x: x)


def windows_ignore_the_edge(patch, twin):
    """Runs of as many cells as a window has, as they lie in the row."""

    def order(grids, merge, window):
        total = sum(t * h * w for t, h, w in grids)
        size = window**2 * merge**2
        runs = ((total // size, size), (1, total % size))
        natural = torch.arange(total)
        return natural, natural, tuple(run for run in runs if run[0] * run[1])

    patch.setattr(tower, "window_order", order)


def full_attention_read_as_strings(patch, twin):
    config = twin.ours.model.tower.config
    blocks = tuple(str(index) for index in config.full_attention_blocks)
    patch.setattr(twin.ours.model.tower, "config", replace(config, full_attention_blocks=blocks))


def no_windows(patch, twin):
    config = replace(twin.ours.model.tower.config, window_size=None)
    patch.setattr(twin.ours.model.tower, "config", config)


def attention_across_frames(patch, twin):
    patch.setattr(tower, "frame_segments", lambda grids: tuple((1, t * h * w) for t, h, w in grids))


def attention_across_media(patch, twin):
    patch.setattr(tower, "frame_segments", lambda grids: ((1, sum(t * h * w for t, h, w in grids)),))


def rotary_in_raster_order(patch, twin):
    original = grid.patch_coordinates.__wrapped__
    patch.setattr(grid, "merge_blocks", lambda x, merge: x.flatten(0, 1))
    patch.setattr(tower, "patch_coordinates", original)
    patch.setattr(tower, "interpolate_table", lambda table, grids, merge: _table(table, grids, merge))


def table_in_raster_order(patch, twin):
    patch.setattr(
        tower, "interpolate_table", lambda *args: _table(*args, blocks=lambda x, merge: x.flatten(0, 1))
    )


def table_corners_not_aligned(patch, twin):
    patch.setattr(tower, "interpolate_table", lambda *args: _table(*args, align_corners=False))


def table_in_bfloat16(patch, twin):
    def interpolate(table, grids, merge):
        return _table(table.bfloat16(), grids, merge).float()

    patch.setattr(tower, "interpolate_table", interpolate)


_blocks = grid.merge_blocks


def _table(table: Tensor, grids, merge: int, blocks=_blocks, align_corners: bool = True) -> Tensor:
    side = int(len(table) ** 0.5)
    square = table.view(1, side, side, -1).permute(0, 3, 1, 2)
    parts = []
    for t, h, w in grids:
        part = F.interpolate(square, size=(h, w), mode="bilinear", align_corners=align_corners)
        parts.append(blocks(part[0].permute(1, 2, 0), merge).repeat(t, 1))
    return torch.cat(parts)


def vision_rotary_in_bfloat16(patch, twin):
    original = rope.vision_table
    rounded = lambda *args: tuple(table.bfloat16().float() for table in original(*args))  # noqa: E731
    patch.setattr(tower, "vision_table", rounded)


def deepstack_dropped(patch, twin):
    original = VisionLanguageModel.embed
    patch.setattr(VisionLanguageModel, "embed", lambda *args: (original(*args)[0], None))


def deepstack_one_layer_late(patch, twin):
    _change_taps(patch, lambda found, start: (torch.zeros_like(found.taps[0]), *found.taps))


def deepstack_misaligned_in_chunks(patch, twin):
    """Every chunk takes its taps from the front: right only when all comes at once."""

    def shift(found, start):
        return found.taps if start == 0 else tuple(tap.roll(1, 0) for tap in found.taps)

    _change_taps(patch, shift)


def deepstack_lost_on_a_cache(patch, twin):
    """Only features are remembered: on a warm cache the taps are gone."""
    _change_taps(patch, lambda found, start: found.taps if start == 0 else ())


def _change_taps(patch, change):
    original = VisionLanguageModel.embed

    def embed(self, prompt, vision, start, stop):
        embeds, found = original(self, prompt, vision, start, stop)
        return embeds, found and DeepStack(found.rows, change(found, start))

    patch.setattr(VisionLanguageModel, "embed", embed)


def tap_normed_before_shuffle(patch, twin):
    original = PatchMerger.forward

    def forward(self, x):
        if not self.norm_after_shuffle:
            return original(self, x)
        width = x.shape[-1]
        plain = F.layer_norm(x, (width,), eps=1e-6).reshape(-1, self.cell_width)
        return self.fc2(F.gelu(self.fc1(plain * self.norm.weight + self.norm.bias)))

    patch.setattr(PatchMerger, "forward", forward)
