"""The truth of the merged cells, and the curriculum."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import groupby
from random import Random

import numpy as np
import pytest

from vlm.inputs.patches import target_size, to_patches
from vlm.train import scenes
from vlm.train.cells import CHANGES, CHARACTERS, DEEDS, UNASKED, cell_truth, clip_cells, picture_cells
from vlm.train.questions import KINDS
from vlm.train.stream import (
    CELL_PIXELS,
    CLIP_SHAPES,
    LONGEST,
    PICTURE_GRIDS,
    Stream,
    _frames,
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
    level = difficulty(1.0)
    pairs = replace(level, pairs=1.0, clips=0.0)  # rare, so that few of them would come up by themselves
    for number in range(70):
        for sample in stream.samples(number, pairs if number < 10 else level):
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


def test_letters_are_told_where_they_stand(tiny):
    """Half a cell counts for the character whose ink it holds most of."""
    checked = 0
    for seed in range(20):
        rng = Random(seed)
        scene = scenes.random_scene(rng, width=192, height=192, count=(0, 0), textures=("plain",))
        scene = scenes.with_text(scene, rng)
        image, owner = scenes.draw(scene)
        patches = to_patches(_frames("image", image[None]), tiny.config.pixels)
        cells = picture_cells(scene, owner, patches)
        halves = np.stack([cells["left_letter"], cells["right_letter"]], 1).reshape(6, 12)
        (text,) = scene.things
        told = {CHARACTERS[index] for index in halves[halves >= 0]}
        assert told <= set(text.text) and len(told) >= len(set(text.text)) - 1
        ink = (owner == 0).reshape(6, 32, 12, 16).mean((1, 3))
        assert (ink[halves < 0] < 0.45).all() and (halves[ink > 0.45] >= 0).all()
        order = [CHARACTERS[index] for index in halves[halves.max(1).argmax()] if index >= 0]
        assert "".join(key for key, _ in groupby(order)) in "".join(key for key, _ in groupby(text.text))
        checked += len(text.text)
    assert checked > 30


def test_what_changed_is_told_of_every_cell(tiny):
    seen = Counter()
    for seed in range(40):
        clip = scenes.random_clip(Random(seed), width=128, height=128, frames=(6, 6), textures=("plain",))
        images, owners = scenes.draw_clip(clip)
        patches = to_patches(_frames("video", images, tuple(range(6))), tiny.config.pixels)
        cells = {name: values.reshape(3, 4, 4) for name, values in clip_cells(clip, owners, patches).items()}
        for index, motion in enumerate(clip.motions):
            thing = clip.scene.things[index]
            own = cells["deed_colour"] == list(scenes.COLOURS).index(thing.colour)
            own &= cells["deed_shape"] == scenes.SHAPES.index(thing.shape)
            deeds = [set(cells["deed"][time][own[time]].tolist()) - {UNASKED} for time in range(3)]
            if sum((t.colour, t.shape) == (thing.colour, thing.shape) for t in clip.scene.things) > 1:
                continue
            expected = [
                {"appears": "appears", "disappears": "disappears" if 2 * t + 1 >= motion.frame else "still"}
                .get(motion.kind, motion.kind)
                for t in range(3)
            ]  # fmt: skip
            for time, deed in enumerate(expected):
                hidden = motion.kind == "appears" and 2 * time + 1 < motion.frame
                assert deeds[time] == (set() if hidden else {DEEDS.index(deed)})
            seen[motion.kind] += 1
    assert set(seen) == set(DEEDS) and min(seen.values()) > 5


def test_a_picture_has_no_changes(stream):
    batch = stream.make(0, replace(difficulty(1.0), clips=0.0, pairs=0.0))
    assert all((batch.cells[name] == UNASKED).all() for name in CHANGES)
