"""What a person may choose: which frames of a clip the model sees, and how large."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from vlm.config import PixelConfig
from vlm.records import InputError


@dataclass(frozen=True)
class MediaOptions:
    """A person's wishes for the media of one turn; None leaves the choice to the family's `PixelConfig`.

    ``fps`` frames a second to sample; ``num_frames`` an exact count instead; ``max_frames`` a limit on
    either; ``start`` and ``end`` in seconds from the clip's first frame. Pictures ignore these.
    ``min_pixels`` and ``max_pixels`` hold for a picture and for each frame of a clip, after the resize.
    ``approximate`` trades exactness for speed: the key frames nearest to the sampled ones, and JPEGs decoded
    at a half, a quarter or an eighth where that is still larger than what the model sees.

    Raises:
        InputError: a value that can mean nothing (fps 0, end before start, ...).
    """

    fps: float | None = None
    num_frames: int | None = None
    max_frames: int | None = None
    start: float | None = None
    end: float | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    approximate: bool = False

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("start", "end") else 1e-6 if field.name == "fps" else 1
            if value is None or isinstance(value, bool):
                continue
            if not (math.isfinite(value) and value >= least):
                raise InputError(f"{field.name} is {value}: give at least {least}, or leave it out")
        if self.end is not None and self.end < (self.start or 0):
            raise InputError(f"the end ({self.end} s) lies before the start ({self.start or 0} s)")
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise InputError("min pixels is above max pixels: change one of them")

    def limit(self, pixels: PixelConfig) -> PixelConfig:
        """``pixels`` with the limits of these wishes; one limit moves the other out of its way."""
        if self.min_pixels is None and self.max_pixels is None:
            return pixels
        low = self.min_pixels or min(pixels.image_min_pixels, self.max_pixels)
        high = self.max_pixels or max(pixels.image_max_pixels, self.min_pixels)
        limited = replace(pixels, image_min_pixels=low, image_max_pixels=high)
        if pixels.video_pixels_per_frame:
            return replace(limited, video_min_pixels=low, video_max_pixels=high)
        return replace(limited, frame_min_pixels=self.min_pixels, frame_max_pixels=self.max_pixels)


def sample_frames(
    times: np.ndarray, source_fps: float, pixels: PixelConfig, options: MediaOptions
) -> np.ndarray:
    """Indices of the sampled frames, ascending and all different.

    Source: Qwen3-VL's video processor (a rounded linspace) with, where ``pixels.even_frames``, the even
    count of qwen-vl-utils. Two seconds at 2 fps of a 10 fps clip: frames 0, 6, 13, 19.

    Args:
        times: (N,) seconds of all frames, ascending from 0.

    Returns:
        (n,) int64; empty where the range starts after the last frame.
    """
    inside = _in_range(times, options)
    count = _count(len(inside), source_fps, pixels, options)
    return inside[np.linspace(0, len(inside) - 1, count).round().astype(np.int64)] if count else inside


def sampled_fps(count: int, times: np.ndarray, source_fps: float, options: MediaOptions) -> float:
    """Frames a second of ``count`` sampled frames, as qwen-vl-utils counts: their share of all frames.

    The gaps between the sampled times are a little longer, because the last frame is always among them.
    """
    return count / max(1, len(_in_range(times, options))) * source_fps


def _in_range(times: np.ndarray, options: MediaOptions) -> np.ndarray:
    """Frames that begin inside the range; in a slow clip, the one that is on screen at its start."""
    start, end = options.start or 0.0, math.inf if options.end is None else options.end
    inside = np.flatnonzero((times >= start) & (times <= end))
    on_screen = np.searchsorted(times, start, "right") - 1
    if len(inside) == 0 and on_screen < len(times) - 1:
        return np.array([on_screen])
    return inside


def _count(total: int, source_fps: float, pixels: PixelConfig, options: MediaOptions) -> int:
    most = min(options.max_frames or pixels.max_frames, total)
    count = options.num_frames
    if count is None:
        count = max(int(total / source_fps * (options.fps or pixels.fps)), pixels.min_frames)
    count = min(count, most)
    if pixels.even_frames:
        whole = pixels.temporal_patch_size
        count = min(max(count - count % whole, whole), total)
    return count
