"""Boxes are drawn on the file itself: upright, in its own proportions, bounded in size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vlm.families.checkpoint import open_config
from vlm.inputs.media import MediaOptions, open_media
from vlm.inputs.sandbox import AVAILABLE, Sandbox
from vlm.lens.export import region_picture
from vlm.lens.original import original_picture
from vlm.lens.regions import find_regions
from vlm.records import MediaError


@pytest.fixture(scope="module")
def pixels():
    return open_config("tiny")[0].pixels


@pytest.fixture(
    params=["here", pytest.param("sandbox", marks=pytest.mark.skipif(not AVAILABLE, reason="Linux"))]
)
def opener(request):
    """How files are opened: in this process, and as the page opens those of strangers."""
    if request.param == "here":
        yield open_media
        return
    sandbox = Sandbox()
    yield sandbox.open
    sandbox.close()


def drawn(width: int, height: int) -> Image.Image:
    """Grey, with a red block in the right half's lower third."""
    values = np.full((height, width, 3), 128, np.uint8)
    values[2 * height // 3 :, width // 2 :] = (200, 0, 0)
    return Image.fromarray(values)


def test_a_wide_photo_that_lies_on_its_side(pixels, opener, tmp_path):
    # 2400 × 1000 as stored, turned upright by EXIF to 1000 × 2400: the model sees 128 × 288, another ratio.
    file, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[0x0112] = 6
    upright = drawn(1000, 2400)
    upright.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif)
    medium = opener(file)
    seen = medium.patches(pixels)
    assert (seen.width, seen.height) == (1000, 2400)
    assert abs(seen.resized.shape[2] / seen.resized.shape[1] - 1000 / 2400) > 0.01
    found = original_picture(medium, seen)
    assert max(found.size) in (1599, 1600) and abs(found.width / found.height - 1000 / 2400) < 2 / 1600
    small = upright.resize(found.size)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(small)).mean() < 2  # JPEG, and the block's edges
    assert max(original_picture(medium, seen, longest=200).size) <= 200

    # A box in thousandths comes out where the block is, in the original's pixels and on the drawing.
    [box] = find_regions('{"bbox_2d": [500, 667, 1000, 1000], "label": "block"}', seen, 1000)
    assert np.allclose(box.numbers, (500, 1600.8, 1000, 2400))
    boxed = region_picture(seen, [replace(box, label="")], original=found)
    changed = np.argwhere((np.asarray(boxed) != np.asarray(found)).any(-1))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    scale = found.width / 1000
    assert np.allclose((left, top, right + 1, bottom + 1), np.array(box.numbers) * scale, atol=2)


def test_a_small_picture_is_not_enlarged(pixels, opener, tmp_path):
    drawn(37, 23).save(tmp_path / "small.png")
    medium = opener(tmp_path / "small.png")
    assert np.array_equal(original_picture(medium, medium.patches(pixels)), drawn(37, 23))


def test_every_moment_of_a_clip(pixels, opener, examples):
    medium = opener(examples / "moving_circle.mp4")
    seen = medium.patches(pixels, MediaOptions(max_pixels=96 * 96))
    assert seen.resized.shape[1:3] == (96, 96)
    for step in range(seen.grid_thw[0]):
        found = original_picture(medium, seen, step)
        assert found.size == (224, 224)
        small = np.asarray(found.resize((96, 96), Image.Resampling.BICUBIC)).astype(int)
        apart = [np.abs(small - frame).mean() for frame in seen.resized]
        assert np.argmin(apart) == step * seen.temporal_patch_size  # this frame, and no other


def test_another_file_of_that_name_is_not_drawn_on(pixels, opener, tmp_path):
    drawn(300, 200).save(tmp_path / "a.png")
    seen = opener(tmp_path / "a.png").patches(pixels)
    drawn(200, 300).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="another file now"):
        original_picture(opener(tmp_path / "a.png"), seen)
