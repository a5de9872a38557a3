"""The truth of the merged cells, and the curriculum."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from vlm.inputs.patches import target_size, to_patches
from vlm.train import scenes
from vlm.train.questions import KINDS
from vlm.train.stream import (
    CELL_PIXELS,
    CLIP_SHAPES,
    LONGEST,
    PICTURE_GRIDS,
    Stream,
    _frames,
    cell_truth,
    difficulty,
)


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


def test_every_kind_enters_the_stream_with_balanced_answers(packer, tiny):
    """At full difficulty; yes and no within three to one, as a safe guess must not pay."""
    stream = Stream(packer, tiny.config.pixels, batch=16, segments=8, seed=1)
    answers = defaultdict(Counter)
    for number in range(90):
        for sample in stream.samples(number, difficulty(1.0)):
            for segment in sample.segments:
                answers[segment.turns[0].kind][segment.turns[0].answer] += 1
    assert set(answers) >= set(KINDS)
    for kind in ("exists", "relation", "video_moves", "compare_colour", "compare_shape"):
        yes, no = answers[kind]["yes"], answers[kind]["no"]
        assert 1 / 3 < yes / no < 3, kind
    for kind in ("colour", "shape", "count", "where", "video_direction"):
        assert answers[kind].most_common(1)[0][1] < 0.45 * answers[kind].total(), kind


def test_a_pair_stands_in_one_message_and_can_be_compared(stream):
    level = replace(difficulty(1.0), pairs=1.0, clips=0.0, earlier=0.0, small_talk=0.0)
    samples = stream.samples(3, level)
    assert len(samples) % 2 == 0 and all(len(sample.pictures) == 2 for sample in samples)
    kinds = {turn.kind for sample in samples for segment in sample.segments for turn in segment.turns}
    assert kinds and all(kind.startswith(("compare_", "count")) for kind in kinds)


def test_long_segments_are_left_out(stream):
    level = replace(difficulty(1.0), scene={"count": (6, 6)}, kinds=("describe",), zh=1.0, reading=0.0)
    batch = stream.make(0, replace(level, clips=0.0, pairs=0.0, earlier=0.0, dialogues=0.0))
    assert batch.layout.mask.shape[2] <= LONGEST
