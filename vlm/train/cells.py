"""What each merged cell of a picture or clip shows: the truth for the auxiliary losses."""

from __future__ import annotations

from collections.abc import Sequence as Items

import numpy as np

from vlm.records import Patches
from vlm.train import scenes

NOTHING = -1  # a cell of the background
UNASKED = -100  # a cell that a loss passes over
# Least share of a cell that a thing covers to count as what is seen there. A small thing may lie across four
# cells: a change must not get lost between them.
_COVERED, _TOUCHED = 0.12, 0.04
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# What a thing has been seen to do by the time of a cell. A thing that will disappear is still until it does.
DEEDS = ("still", "moves", "appears", "disappears")

_CLASSES = {
    "shape": {name: index for index, name in enumerate((*scenes.SHAPES, "text"))},
    "colour": {name: index for index, name in enumerate(scenes.COLOURS)},
    "size": {name: index for index, name in enumerate(scenes.SIZES)},
    "pattern": {name: index for index, name in enumerate(scenes.PATTERNS)},
}
# What can be seen in a cell, and (`CHANGES`) what only a look at the cells before can tell.
SIGHTS = {name: len(classes) for name, classes in _CLASSES.items()} | {
    "left_letter": len(CHARACTERS),
    "right_letter": len(CHARACTERS),
}
CHANGES = {"deed": len(DEEDS), "deed_shape": SIGHTS["shape"], "deed_colour": SIGHTS["colour"]}


def picture_cells(scene: scenes.Scene, owner: np.ndarray, patches: Patches) -> dict[str, np.ndarray]:
    """The truth of a picture drawn with these owners (H, W): `cell_truth`, the letters, no changes."""
    cells = cell_truth(owner[None], [scene.things], patches)
    return cells | letter_cells(scene, patches) | _everywhere(CHANGES, UNASKED, patches)


def clip_cells(clip: scenes.Clip, owners: np.ndarray, patches: Patches) -> dict[str, np.ndarray]:
    """The truth of a clip drawn with these owners (F, H, W): `cell_truth`, no letters, the changes."""
    step = patches.temporal_patch_size
    things = [_things(clip, frame) for frame in range(0, len(owners), step)]
    cells = cell_truth(owners[::step], things, patches)
    letters = _everywhere(("left_letter", "right_letter"), NOTHING, patches)
    return cells | letters | changed_cells(clip, owners, patches)


def cell_truth(owners: np.ndarray, things: list, patches: Patches) -> dict[str, np.ndarray]:
    """What covers each merged cell; all (V,).

    Args:
        owners: (t, H, W) index of the visible thing at each pixel, -1 for the background.
        things: one sequence of things a temporal patch, indexed by owner.

    Returns:
        ``shape``, ``colour``, ``size``, ``pattern`` class indexes (-1: background) and ``x``, ``y``, the
        owner's centre in 0 … 1.
    """
    most = max((len(row) for row in things), default=0)
    masks = np.stack([owners == index for index in range(most)]) if most else None
    own = _owners_of_cells(masks, patches)
    per_frame = patches.tokens // patches.cells_thw[0]
    return _looks([things[i // per_frame][o] if o >= 0 else None for i, o in enumerate(own.tolist())])


def changed_cells(clip: scenes.Clip, owners: np.ndarray, patches: Patches) -> dict[str, np.ndarray]:
    """What the thing at each cell has done by then, and which thing it is; all (V,), `UNASKED` elsewhere.

    Where a thing has disappeared, its cells go on to tell of it.
    """
    step, times = patches.temporal_patch_size, patches.cells_thw[0]
    masks = np.zeros((len(clip.motions), times, *owners.shape[1:]), bool)
    for index, motion in enumerate(clip.motions):
        seen = owners == index  # (F, H, W)
        if motion.kind == "moves":
            masks[index] = np.stack([seen[t * step : (t + 1) * step].any(0) for t in range(times)])
        else:
            masks[index, motion.frame // step if motion.kind == "appears" else 0 :] = seen.any(0)
    own = _owners_of_cells(masks, patches, _TOUCHED).tolist()
    per_frame = patches.tokens // times
    deeds = [_deed(clip.motions[o], i // per_frame, step) if o >= 0 else UNASKED for i, o in enumerate(own)]
    looks = {
        f"deed_{name}": np.array([
            _CLASSES[name][getattr(clip.scene.things[o], name)] if o >= 0 else UNASKED for o in own
        ])
        for name in ("shape", "colour")
    }  # fmt: skip
    return {"deed": np.array(deeds)} | looks


def _deed(motion: scenes.Motion, time: int, step: int) -> int:
    done = motion.kind if time >= motion.frame // step else "still"
    return DEEDS.index(done)


def letter_cells(scene: scenes.Scene, patches: Patches) -> dict[str, np.ndarray]:
    """The character that fills most of the left and of the right half of each merged cell; both (V,)."""
    _, rows, columns = patches.cells_thw
    halves = np.full((rows, columns * 2), NOTHING)
    room = np.zeros((rows, columns * 2))
    high, wide = scene.height / rows, scene.width / columns / 2
    for thing in (thing for thing in scene.things if thing.text):
        for character, (x0, y0, x1, y1) in scenes.letters(thing, scene.width, scene.height):
            across = _overlaps(x0, x1, wide, columns * 2)
            down = _overlaps(y0, y1, high, rows)
            # A sliver of a character tells nothing.
            across[across < wide / 4], down[down < (y1 - y0) / 4] = 0, 0
            shared = down[:, None] * across
            halves[shared > room] = CHARACTERS.index(character)
            room = np.maximum(room, shared)
    return {"left_letter": halves[:, ::2].ravel(), "right_letter": halves[:, 1::2].ravel()}


def _overlaps(start: float, stop: float, unit: float, count: int) -> np.ndarray:
    """(count,) the length that start … stop shares with each of ``count`` stretches of ``unit``."""
    edges = np.arange(count) * unit
    return np.clip(np.minimum(stop, edges + unit) - np.maximum(start, edges), 0, None)


def _owners_of_cells(masks: np.ndarray | None, patches: Patches, least: float = _COVERED) -> np.ndarray:
    """(V,) the thing that covers most of each cell, from (things, t, H, W) masks; -1: none covers enough."""
    if masks is None:
        return np.full(patches.tokens, NOTHING)
    t, rows, columns = patches.cells_thw
    high, wide = masks.shape[2] // rows, masks.shape[3] // columns
    share = masks.reshape(-1, t, rows, high, columns, wide).mean((3, 5)).reshape(len(masks), -1)
    return np.where(share.max(0) > least, share.argmax(0), NOTHING)


def _looks(owners: list) -> dict[str, np.ndarray]:
    truth = {
        name: np.array([classes[getattr(own, name)] if own else NOTHING for own in owners])
        for name, classes in _CLASSES.items()
    }
    truth["x"] = np.array([own.x if own else 0.0 for own in owners], np.float32)
    truth["y"] = np.array([own.y if own else 0.0 for own in owners], np.float32)
    return truth


def _things(clip: scenes.Clip, frame: int) -> list:
    """Things of one frame, indexed as the owners are; absent ones keep their starting look."""
    now = list(clip.scene.things)
    for index, thing in scenes.things_at(clip, frame):
        now[index] = thing
    return now


def _everywhere(names: Items[str], value: int, patches: Patches) -> dict[str, np.ndarray]:
    return {name: np.full(patches.tokens, value) for name in names}
