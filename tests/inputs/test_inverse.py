"""From tokens and patches back to the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlm.inputs.patches import to_patches
from vlm.records import Frames, Patches


def patches_of(pixels: np.ndarray, config) -> Patches:
    return to_patches(Frames("image", "x", pixels[None], pixels.shape[1], pixels.shape[0], ""), config)


@pytest.fixture
def wide(tiny):
    """192×128 as it is: 6×4 cells, nothing resized."""
    return patches_of(np.zeros((128, 192, 3), np.uint8), tiny.config.pixels)


def test_a_lit_pixel_lies_in_the_patch_that_the_map_names(tiny):
    for x, y in [(0, 0), (17, 3), (40, 100), (191, 127), (95, 64)]:
        pixels = np.zeros((128, 192, 3), np.uint8)
        pixels[y, x] = 255
        patches = patches_of(pixels, tiny.config.pixels)
        lit = int((patches.pixels - patches.pixels.min()).sum(1).argmax())
        _, row, column = patches.patch_place(lit)
        left, top, right, bottom = patches.patch_box(row, column)
        assert left <= x < right and top <= y < bottom
        assert patches.cell_at(x, y) == (row // 2, column // 2)
        left, top, right, bottom = patches.cell_box(*patches.cell_at(x, y))
        assert left <= x < right and top <= y < bottom


def test_places_cover_every_patch_once_in_the_towers_order(wide):
    from vlm.models.grid import patch_coordinates

    places = [wide.patch_place(index) for index in range(len(wide.pixels))]
    assert len(set(places)) == len(places)
    rows_columns = torch.tensor([place[1:] for place in places])
    assert torch.equal(rows_columns, patch_coordinates((wide.grid_thw,), wide.merge_size))


def test_boxes_are_in_pixels_of_the_original(tiny):
    large = patches_of(np.zeros((256, 384, 3), np.uint8), tiny.config.pixels)
    assert large.resized.shape[1:3] != (256, 384)
    rows, columns = large.cells_thw[1:]
    assert large.cell_box(rows - 1, columns - 1)[2:] == (384, 256)


@pytest.mark.parametrize("point", [(-1, 0), (0, 128), (192, 0)])
def test_points_outside_are_refused(wide, point):
    with pytest.raises(ValueError, match="outside"):
        wide.cell_at(*point)


def test_cells_outside_are_refused(wide):
    with pytest.raises(ValueError, match="outside"):
        wide.cell_box(4, 0)
