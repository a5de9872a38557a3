"""What is said of a file before it is decoded is what decoding it gives."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from media_files import PIXELS, write_video
from PIL import Image

from vlm.inputs.media import MediaOptions, open_media
from vlm.inputs.patches import with_pixels
from vlm.records import InputError, MediaError

# Qwen3-VL's way: limits on all frames together.
VOLUME = replace(PIXELS, video_pixels_per_frame=False, video_max_pixels=8 * 32 * 32)


def _write(path, name):
    if name == "clip.mp4":
        return write_video(path / name, frames=31, rotation=90)
    picture = Image.new("RGB", (90, 50), "teal")
    if name == "frames.gif":
        others = [Image.new("RGB", (90, 50), colour) for colour in ("red", "blue", "black", "white")]
        picture.save(path / name, save_all=True, append_images=others, duration=[100, 300, 200, 400, 100])
    else:
        exif = picture.getexif()
        exif[0x0112] = 6  # lies on its side
        picture.save(path / name, exif=exif)
    return path / name


@pytest.mark.parametrize("pixels", [PIXELS, VOLUME], ids=["a frame", "a clip"])
@pytest.mark.parametrize(
    "options",
    [MediaOptions(), MediaOptions(max_pixels=1024), MediaOptions(min_pixels=2048, fps=3.0, max_frames=5)],
    ids=["default", "smaller", "larger"],
)
@pytest.mark.parametrize("name", ["photo.jpg", "frames.gif", "clip.mp4"])
def test_a_plan_is_kept(tmp_path, name, options, pixels):
    medium = open_media(_write(tmp_path, name))
    plan, real = medium.plan(pixels, options), medium.patches(pixels, options)
    assert plan.resized.shape == real.resized.shape and plan.tokens == real.tokens
    alike = ("kind", "name", "grid_thw", "width", "height", "timestamps", "frame_timestamps", "sampled_fps")
    assert [getattr(plan, key) for key in alike] == [getattr(real, key) for key in alike]
    assert len(plan.pixels) == len(real.pixels) == 0
    assert len(with_pixels(real, pixels).pixels) == math.prod(plan.grid_thw) == plan.patch_count


@pytest.mark.parametrize("pixels", [PIXELS, VOLUME], ids=["a frame", "a clip"])
@pytest.mark.parametrize("name", ["photo.jpg", "clip.mp4"])
def test_a_person_may_ask_for_fewer_pixels_than_the_family(tmp_path, name, pixels):
    strict = replace(pixels, image_min_pixels=4096, video_min_pixels=4096)
    plan = open_media(_write(tmp_path, name)).plan(strict, MediaOptions(max_pixels=600))
    assert math.prod(plan.resized.shape[1:3]) <= 600


def test_limits_that_contradict_each_other():
    with pytest.raises(InputError, match="min pixels is above max pixels"):
        MediaOptions(min_pixels=5000, max_pixels=1000)


def test_a_plan_refuses_what_reading_would(tmp_path):
    Image.new("L", (1000, 2)).save(tmp_path / "thin.png")
    with pytest.raises(MediaError, match="crop it"):
        open_media(tmp_path / "thin.png").plan(PIXELS)
    clip = open_media(write_video(tmp_path / "clip.mp4"))
    with pytest.raises(MediaError, match="nothing is left"):
        clip.plan(PIXELS, MediaOptions(start=60))
