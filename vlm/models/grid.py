"""Where the patches of a picture lie: coordinates, table rows and windows, all in merge-block order."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vlm.models.varlen import Segments

Grid = tuple[int, int, int]  # (t, h, w) in patches


def merge_blocks(x: Tensor, merge: int) -> Tensor:
    """(h, w, …) raster → (h * w, …) with the merge × merge patches of one cell side by side."""
    h, w = x.shape[:2]
    blocks = x.reshape(h // merge, merge, w // merge, merge, *x.shape[2:]).transpose(1, 2)
    return blocks.reshape(h * w, *x.shape[2:])


@lru_cache(maxsize=256)
def patch_coordinates(grids: tuple[Grid, ...], merge: int) -> Tensor:
    """(P, 2) int64 (row, column) of every patch; each frame starts again at (0, 0)."""
    parts = []
    for t, h, w in grids:
        raster = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), dim=-1)
        parts.append(merge_blocks(raster, merge).repeat(t, 1))
    return torch.cat(parts)


def interpolate_table(table: Tensor, grids: tuple[Grid, ...], merge: int) -> Tensor:
    """Resample a square table of learned positions (S², D) to every grid; (P, D) float32.

    Bilinear with aligned corners, so the table's corners land on the picture's corners (Qwen3-VL).
    """
    side = int(table.shape[0] ** 0.5)
    square = table.float().view(1, side, side, -1).permute(0, 3, 1, 2)
    parts = []
    for t, h, w in grids:
        resampled = F.interpolate(square, size=(h, w), mode="bilinear", align_corners=True)
        parts.append(merge_blocks(resampled[0].permute(1, 2, 0), merge).repeat(t, 1))
    return torch.cat(parts)


def frame_segments(grids: tuple[Grid, ...]) -> Segments:
    """One segment a frame; neighbouring media of one frame size share a run."""
    runs: list[tuple[int, int]] = []
    for t, h, w in grids:
        if runs and runs[-1][1] == h * w:
            runs[-1] = (runs[-1][0] + t, h * w)
        else:
            runs.append((t, h * w))
    return tuple(runs)


@lru_cache(maxsize=64)
def window_order(grids: tuple[Grid, ...], merge: int, window: int) -> tuple[Tensor, Tensor, Segments]:
    """Order that brings the patches of each attention window together.

    Windows are ``window`` × ``window`` merged cells, cut at the picture's edge. Windows of equal size
    are put side by side so that each size is one attention call.

    Returns:
        (P,) int64 permutation of patches, its inverse, and the windows as segments after it.
    """
    windows: list[Tensor] = []
    start = 0
    for t, h, w in grids:
        patches = torch.arange(t * h * w).view(t, h // merge, w // merge, merge**2) + start
        for frame in patches:
            windows += [cut.flatten() for band in frame.split(window, 0) for cut in band.split(window, 1)]
        start += patches.numel()
    windows.sort(key=len, reverse=True)
    sizes = [len(cut) for cut in windows]
    order = torch.cat(windows)
    segments = tuple((sizes.count(size), size) for size in sorted(set(sizes), reverse=True))
    return order, order.argsort(), segments
