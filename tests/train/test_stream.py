"""The truth of the merged cells, and the curriculum."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from vlm.inputs.patches import target_size, to_patches
from vlm.train import scenes
from vlm.train.stream import CELL_PIXELS, CLIP_SHAPES, PICTURE_GRIDS, _frames, cell_truth, difficulty


@pytest.mark.parametrize("grid", PICTURE_GRIDS)
def test_pictures_are_drawn_at_a_size_the_model_keeps(tiny, grid):
    height, width = grid[0] * CELL_PIXELS, grid[1] * CELL_PIXELS
    assert target_size("image", 1, height, width, tiny.config.pixels) == (height, width)


@pytest.mark.parametrize("shape", CLIP_SHAPES)
def test_clips_are_drawn_at_a_size_the_model_keeps(tiny, shape):
    frames, height, width = shape[0], shape[1] * CELL_PIXELS, shape[2] * CELL_PIXELS
    assert target_size("video", frames, height, width, tiny.config.pixels) == (height, width)


def test_cell_truth_names_what_covers_each_cell(tiny):
    rng = Random(2)
    scene = scenes.random_scene(rng, width=192, height=160, count=(2, 2))
    image, owner = scenes.draw(scene)
    patches = to_patches(_frames("image", image[None]), tiny.config.pixels)
    cells = cell_truth(owner[None], [scene.things], patches)
    _, rows, columns = patches.cells_thw
    assert len(cells["shape"]) == patches.tokens
    for thing in scene.things:
        row, column = int(thing.y * rows), int(thing.x * columns)
        block = owner[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
        index = row * columns + column
        found = cells["shape"][index]
        shares = [np.mean(block == i) for i in range(len(scene.things))]
        expected = (
            scenes.SHAPES.index(scene.things[int(np.argmax(shares))].shape) if max(shares) > 0.12 else -1
        )
        assert found == expected
    empty = owner.reshape(rows, 32, columns, 32).max((1, 3)).ravel() < 0
    assert (cells["colour"][empty] == -1).all()


def test_an_empty_picture_has_only_background_cells(tiny):
    scene = scenes.random_scene(Random(1), width=160, height=160, count=(0, 0))
    image, owner = scenes.draw(scene)
    patches = to_patches(_frames("image", image[None]), tiny.config.pixels)
    assert (cell_truth(owner[None], [scene.things], patches)["shape"] == -1).all()


def test_the_curriculum_only_gets_harder():
    levels = [difficulty(step / 20) for step in range(21)]
    most = [level.scene["count"][1] for level in levels]
    assert most == sorted(most)
    assert [level.clips for level in levels] == sorted(level.clips for level in levels)
    assert levels[0].clips == 0 < levels[-1].clips
