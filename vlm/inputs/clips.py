"""Clip → Frames: sample, decode, resize each frame at once, and say what was lost.

A full-size clip is never held: 64 frames of 1080p would already take 400 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from vlm.config import PixelConfig
from vlm.inputs.patches import resize_frame, target_size
from vlm.inputs.sampling import MediaOptions, sample_frames, sampled_fps
from vlm.records import Frames, MediaError

MAX_FRAME_PIXELS = 8192 * 8192  # a clip's frame; one decoded to RGB takes 200 MB

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clip:
    """An opened moving picture: everything but its pixels.

    ``times`` is (N,) float64 seconds from the first frame; ``width`` and ``height`` are upright.
    ``read`` takes ascending frame indices and yields (index, (H, W, 3) uint8 RGB, upright) of those that
    can be decoded, in order.
    """

    name: str
    times: np.ndarray
    duration: float
    fps: float
    width: int
    height: int
    read: Callable[[list[int]], Iterator[tuple[int, np.ndarray]]]
    notes: tuple[str, ...] = ()
    keys: tuple[int, ...] = ()  # indices of the frames that need no others to be decoded, ascending


def read_clip(clip: Clip, pixels: PixelConfig, options: MediaOptions, progress: Progress | None) -> Frames:
    """Sample and decode; frames have the size at which the model sees them.

    Raises:
        MediaError: absurd dimensions, an empty range, or not one frame could be decoded.
    """
    wanted, _, fps = sample_clip(clip, pixels, options)
    kept, frames = _decode(clip, wanted, pixels, progress)
    if not kept:
        raise MediaError(clip.name, "no frame of it could be decoded: convert it to an H.264 MP4")
    times = tuple(clip.times[kept].tolist())
    lost = len(wanted) - len(kept)
    notes = (f"{lost} of {len(wanted)} frames could not be read",) if lost else ()
    return Frames(
        kind="video",
        name=clip.name,
        pixels=frames,
        width=clip.width,
        height=clip.height,
        digest=digest("video", frames, times),
        timestamps=times,
        source_fps=clip.fps,
        sampled_fps=fps,
        duration=clip.duration,
        notes=clip.notes + notes,
    )


def sample_clip(
    clip: Clip, pixels: PixelConfig, options: MediaOptions
) -> tuple[list[int], tuple[float, ...], float]:
    """Which frames to decode: (indices, seconds, frames a second of the sample).

    Raises:
        MediaError: absurd dimensions, or an empty range.
    """
    if clip.width * clip.height > MAX_FRAME_PIXELS:
        raise MediaError(clip.name, f"its frames of {clip.width}x{clip.height} are too large: shrink it")
    wanted = sample_frames(clip.times, clip.fps, pixels, options).tolist()
    if not wanted:
        raise MediaError(
            clip.name, f"it is {clip.duration:.1f} s long, so nothing is left from {options.start} s on"
        )
    if options.approximate and clip.keys:
        wanted = _nearest(clip.keys, wanted)
    times = tuple(clip.times[wanted].tolist())
    return wanted, times, sampled_fps(len(wanted), clip.times, clip.fps, options)


def _nearest(keys: tuple[int, ...], wanted: list[int]) -> list[int]:
    """Of ascending ``keys`` the nearest to each wanted index, each once."""
    keys = np.asarray(keys)
    after = np.searchsorted(keys, wanted).clip(1, len(keys) - 1) if len(keys) > 1 else np.zeros(1, int)
    before = np.maximum(after - 1, 0)
    nearer = np.where(keys[after] - wanted < wanted - keys[before], after, before)
    return np.unique(keys[nearer]).tolist()


def digest(kind: str, pixels: np.ndarray, times: tuple[float, ...] = ()) -> str:
    """Hash of what the model can see; equal for equal content, whatever the file is called."""
    state = blake2b(repr((kind, pixels.shape, times)).encode(), digest_size=16)
    state.update(np.ascontiguousarray(pixels))
    return state.hexdigest()


def _decode(
    clip: Clip, wanted: list[int], pixels: PixelConfig, progress: Progress | None
) -> tuple[list[int], np.ndarray]:
    """(indices read, (F, H', W', 3) frames)."""
    size = _size(clip, len(wanted), pixels)
    frames = np.empty((len(wanted), *size, 3), np.uint8)
    kept: list[int] = []
    for index, frame in clip.read(wanted):
        frames[len(kept)] = resize_frame(frame, size)
        kept.append(index)
        if progress:
            progress(len(kept), len(wanted))
    if kept and _size(clip, len(kept), pixels) != size:
        # The size may depend on the count: decode again, for nobody should resize these frames twice.
        return _decode(clip, kept, pixels, progress)
    return kept, frames[: len(kept)]


def _size(clip: Clip, count: int, pixels: PixelConfig) -> tuple[int, int]:
    try:
        return target_size("video", count, clip.height, clip.width, pixels)
    except ValueError as error:
        raise MediaError(clip.name, str(error)) from error
