"""Sizes, resizing and cutting; the comparison with the official processors is in tests/parity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vlm.config import PixelConfig
from vlm.inputs.patches import resize_frame, smart_resize, smart_resize_clip, target_size, to_patches
from vlm.records import Frames, MediaError

OLD = PixelConfig(14, (0.5,) * 3, (0.5,) * 3, 3_136, 12_845_056, 3_136, 12_845_056, True)
NEW = PixelConfig(16, (0.5,) * 3, (0.5,) * 3, 65_536, 16_777_216, 4_096, 25_165_824, False)
SMALL = replace(NEW, image_min_pixels=1_024, image_max_pixels=65_536)


def _frames(count: int, height: int, width: int, kind: str = "video") -> Frames:
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    times = tuple(index / 2 for index in range(count)) if kind == "video" else ()
    return Frames(kind, "x", pixels, width, height, "digest", times)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (300, 451, (308, 448)),  # 10.7 and 16.1 factors
        (70, 70, (56, 56)),  # 2.5 factors: Python's round goes to the even 2
        (42, 42, (56, 56)),  # 1.5 factors: to the even 2 as well
        (8_000, 8_000, (3_584, 3_584)),  # the cap: √12,845,056 is 128 factors
        (14, 14, (56, 56)),  # 0.5 factors round to none, so the area grows to the least
    ],
)
def test_smart_resize(height, width, expected):
    assert smart_resize(height, width, 28, 3_136, 12_845_056) == expected


def test_family_factors():
    assert target_size("image", 1, 300, 451, OLD) == (308, 448)
    assert target_size("image", 1, 300, 451, NEW) == (288, 448)


def test_small_pictures_grow():
    height, width = target_size("image", 1, 20, 30, NEW)
    assert height * width >= NEW.image_min_pixels and height % 32 == width % 32 == 0


@pytest.mark.parametrize(("height", "width"), [(1, 201), (201, 1)])
def test_ratio_above_200(height, width):
    with pytest.raises(MediaError, match="201 times"):
        to_patches(_frames(1, height, width, "image"), OLD)


def test_clip_limits_count_all_frames():
    few, many = (smart_resize_clip(n, 720, 1_280, 32, 4_096, 25_165_824) for n in (4, 200))
    assert few == (704, 1_280) and many[0] * many[1] * 200 <= 25_165_824
    assert smart_resize_clip(1, 720, 1_280, 32, 4_096, 25_165_824) == few, "one frame counts as two"
    assert target_size("video", 200, 720, 1_280, OLD) == target_size("video", 2, 720, 1_280, OLD)


def test_order_inside_and_between_patches():
    """Merge blocks side by side; inside a patch (C, T, ph, pw)."""
    frames = _frames(2, 64, 96)
    patches = to_patches(frames, replace(SMALL, video_min_pixels=1_024))
    assert patches.grid_thw == (1, 4, 6) and patches.cells_thw == (1, 2, 3) and patches.tokens == 6
    cube = (patches.pixels.view(1, 2, 3, 2, 2, 3, 2, 16, 16) + 1) / 2 * 255  # t, bh, bw, mh, mw, C, T, ph, pw
    found = cube.permute(0, 6, 1, 3, 7, 2, 4, 8, 5).reshape(2, 64, 96, 3)
    assert torch.equal(found.round().byte(), torch.from_numpy(frames.pixels))


def test_odd_counts_repeat_the_last_frame():
    patches = to_patches(_frames(3, 64, 64), replace(SMALL, video_min_pixels=1_024))
    assert patches.grid_thw[0] == 2
    last = patches.pixels[16:].view(16, 3, 2, 256)
    assert torch.equal(last[:, :, 0], last[:, :, 1])
    assert patches.timestamps == (0.25, 1.0) and patches.frame_timestamps == (0.0, 0.5, 1.0)


def test_a_picture_fills_both_halves_of_its_patch():
    patches = to_patches(_frames(1, 64, 64, "image"), SMALL)
    halves = patches.pixels.view(-1, 3, 2, 256)
    assert patches.timestamps == () and torch.equal(halves[:, :, 0], halves[:, :, 1])


def test_frames_of_the_right_size_are_left_alone():
    frame = _frames(1, 64, 96).pixels[0]
    assert resize_frame(frame, (64, 96)) is frame
    once = resize_frame(frame, (32, 64))
    assert resize_frame(once, (32, 64)) is once and once.dtype == np.uint8


def test_resized_before_or_here():
    """A clip that was resized while decoding gives the patches of the full-size one."""
    full = _frames(4, 200, 300)
    size = target_size("video", 4, 200, 300, NEW)
    early = replace(full, pixels=np.stack([resize_frame(frame, size) for frame in full.pixels]))
    assert torch.equal(to_patches(full, NEW).pixels, to_patches(early, NEW).pixels)


def test_digest_tells_sizes_apart():
    frames = _frames(1, 64, 96, "image")
    assert to_patches(frames, SMALL).digest != to_patches(frames, NEW).digest


def test_cell_boxes_tile_the_original():
    patches = to_patches(_frames(1, 100, 150, "image"), SMALL)
    _, rows, columns = patches.cells_thw
    assert patches.cell_box(0, 0)[:2] == (0, 0)
    assert patches.cell_box(rows - 1, columns - 1)[2:] == pytest.approx((150, 100))
