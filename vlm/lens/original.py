"""The file behind a medium, for drawing on: upright, in its own proportions, as large as a screen needs."""

from __future__ import annotations

from PIL import Image

from vlm.config import PixelConfig
from vlm.inputs.media import MediaOptions, Medium
from vlm.records import MediaError, Patches

LONGEST = 1600  # pixels of the longer edge


def original_picture(medium: Medium, patches: Patches, step: int = 0, longest: int = LONGEST) -> Image.Image:
    """The picture, or a clip's frame at a temporal patch, not resized to what the model takes.

    Args:
        medium: the opened file. patches: what the model had of it. step: which temporal patch of a clip.
        longest: pixels; larger ones are shrunk.

    Raises:
        MediaError: the file cannot be read, or is no longer the one that the model saw.
    """
    share = min(1.0, longest / max(patches.width, patches.height))
    area = max(1, round(patches.width * share)) * max(1, round(patches.height * share))
    pixels = PixelConfig(
        patch_size=1, merge_size=1, temporal_patch_size=1, image_mean=(0.0,) * 3, image_std=(1.0,) * 3,
        image_min_pixels=1, image_max_pixels=area, video_min_pixels=1, video_max_pixels=area,
        video_pixels_per_frame=True, min_frames=1,
    )  # fmt: skip
    found = medium.patches(pixels, _at(patches, step))
    if (found.kind, found.width, found.height) != (patches.kind, patches.width, patches.height):
        raise MediaError(patches.name, "it is another file now: ask again about it")
    return Image.fromarray(found.resized[0])


def _at(patches: Patches, step: int) -> MediaOptions:
    """The first frame of a temporal patch, alone."""
    if patches.kind == "image":
        return MediaOptions()
    times = patches.frame_timestamps
    return MediaOptions(start=times[min(step * patches.temporal_patch_size, len(times) - 1)], num_frames=1)
