"""Frames → Patches: resize, normalise, cut; exactly as the families' official processors do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vlm.config import PixelConfig
from vlm.records import Frames, MediaError, MediaKind, Patches

MAX_ASPECT_RATIO = 200


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Nearest (height, width) in multiples of ``factor`` with the area inside the limits.

    Source: ``smart_resize`` of Qwen2-VL's image processor. Python's half-even ``round`` is part of the rule.

    Raises:
        ValueError: the longer edge is more than 200 times the shorter one.
    """
    _check_aspect(height, width)
    new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
    if new_height * new_width > max_pixels:
        return _shrink(height, width, factor, math.sqrt(height * width / max_pixels))
    if new_height * new_width < min_pixels:
        return _grow(height, width, factor, math.sqrt(min_pixels / (height * width)))
    return new_height, new_width


def smart_resize_clip(
    frames: int, height: int, width: int, factor: int, min_pixels: int, max_pixels: int, temporal: int = 2
) -> tuple[int, int]:
    """`smart_resize` with limits on the pixels of all frames together.

    Source: ``smart_resize`` of Qwen3-VL's video processor. One frame counts as a whole temporal patch,
    where the reference refuses it.
    """
    frames = max(frames, temporal)
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    _check_aspect(height, width)
    new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
    volume = round(frames / temporal) * temporal * new_height * new_width
    if volume > max_pixels:
        return _shrink(height, width, factor, math.sqrt(frames * height * width / max_pixels))
    if volume < min_pixels:
        return _grow(height, width, factor, math.sqrt(min_pixels / (frames * height * width)))
    return new_height, new_width


def target_size(kind: str, frames: int, height: int, width: int, config: PixelConfig) -> tuple[int, int]:
    """(height, width) in pixels at which the model sees a picture or a clip of ``frames`` frames."""
    if kind == "image":
        limits = config.image_min_pixels, config.image_max_pixels
        return smart_resize(height, width, config.factor, *limits)
    if config.video_pixels_per_frame:
        limits = config.video_min_pixels, config.video_max_pixels
        return smart_resize(height, width, config.factor, *limits)
    limits = _clip_limits(max(frames, config.temporal_patch_size), config)
    return smart_resize_clip(frames, height, width, config.factor, *limits, config.temporal_patch_size)


def _clip_limits(frames: int, config: PixelConfig) -> tuple[int, int]:
    """(min, max) pixels of all frames together: the family's, narrowed by a person's limits on each frame."""
    low, high = config.video_min_pixels, config.video_max_pixels
    if config.frame_max_pixels is not None:
        high = min(high, frames * config.frame_max_pixels)
    if config.frame_min_pixels is not None:
        low = frames * config.frame_min_pixels
    return min(low, high), high


def resize_frame(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize one clip frame (H, W, 3) uint8 to ``size``, antialiased bicubic.

    Equal to torchvision's tensor resize, which the official video processors use.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    # The batch comes before the turn: PyTorch then knows colours beside each other, and takes half the time.
    tensor = torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(tensor, size=size, mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def to_patches(frames: Frames, config: PixelConfig) -> Patches:
    """Resize, normalise and cut one medium.

    Raises:
        MediaError: the picture is too long and thin to be resized (ratio above 200).
    """
    return with_pixels(fit_frames(frames, config), config)


def fit_frames(frames: Frames, config: PixelConfig) -> Patches:
    """Resize one medium to what the model sees. ``pixels``, eight times as large, are left to `with_pixels`.

    Raises:
        MediaError: the picture is too long and thin to be resized (ratio above 200).
    """
    plan = plan_patches(
        frames.kind, frames.name, frames.width, frames.height, config,
        times=frames.timestamps, sampled_fps=frames.sampled_fps, notes=frames.notes,
        frames=len(frames.pixels),
    )  # fmt: skip
    size = plan.resized.shape[1:3]
    return replace(plan, resized=_resize(frames, size), digest=f"{frames.digest}:{size[1]}x{size[0]}")


def with_pixels(patches: Patches, config: PixelConfig) -> Patches:
    """The same with the tower's input cut from ``resized``, where it is not there yet."""
    if len(patches.pixels):
        return patches
    return replace(patches, pixels=_cut(_normalise(patches.resized, config), config))


def plan_patches(
    kind: MediaKind,
    name: str,
    width: int,
    height: int,
    config: PixelConfig,
    *,
    frames: int = 1,
    times: tuple[float, ...] = (),
    sampled_fps: float | None = None,
    notes: tuple[str, ...] = (),
) -> Patches:
    """What `to_patches` makes of such a medium, without its content: sizes, grid, times, but no pixels.

    ``pixels`` is (0, patch_dim) and ``resized`` has its shape but takes no memory.

    Raises:
        MediaError: the picture is too long and thin to be resized (ratio above 200).
    """
    try:
        size = target_size(kind, frames, height, width, config)
    except ValueError as error:
        raise MediaError(name, str(error)) from error
    temporal, patch = config.temporal_patch_size, config.patch_size
    return Patches(
        kind=kind,
        name=name,
        pixels=torch.empty(0, 3 * temporal * patch**2),
        grid_thw=(math.ceil(frames / temporal), size[0] // patch, size[1] // patch),
        resized=np.broadcast_to(np.uint8(0), (frames, *size, 3)),
        width=width,
        height=height,
        digest="",
        patch_size=patch,
        merge_size=config.merge_size,
        temporal_patch_size=temporal,
        timestamps=_patch_times(times, temporal),
        frame_timestamps=times,
        sampled_fps=sampled_fps,
        notes=notes,
    )


def _resize(frames: Frames, size: tuple[int, int]) -> np.ndarray:
    """Pictures through Pillow, clips through torch: each as its official processor."""
    if frames.kind == "image":
        if frames.pixels.shape[1:3] == size:
            return frames.pixels
        picture = Image.fromarray(frames.pixels[0])
        return np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC))[None]
    return np.stack([resize_frame(frame, size) for frame in frames.pixels])


def _normalise(resized: np.ndarray, config: PixelConfig) -> Tensor:
    """(F, H, W, 3) uint8 → (F, 3, H, W) float32, zero mean and unit deviation by the config's figures."""
    x = torch.from_numpy(np.array(resized)).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(config.image_mean), torch.tensor(config.image_std)
    return (x - mean[:, None, None]) / std[:, None, None]


def _cut(x: Tensor, config: PixelConfig) -> Tensor:
    """(F, 3, H, W) → (P, 3 * temporal * patch²); the last frame fills the last patch."""
    temporal, patch, merge = config.temporal_patch_size, config.patch_size, config.merge_size
    missing = -len(x) % temporal
    if missing:
        x = torch.cat([x, x[-1:].expand(missing, -1, -1, -1)])
    t, h, w = len(x) // temporal, x.shape[2] // patch, x.shape[3] // patch
    x = x.view(t, temporal, 3, h // merge, merge, patch, w // merge, merge, patch)
    x = x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)  # (t, h/m, w/m, m, m, C, temporal, p, p)
    return x.reshape(t * h * w, -1).contiguous()


def _patch_times(times: tuple[float, ...], temporal: int) -> tuple[float, ...]:
    """Mean of the first and last frame time of every temporal patch; the last time fills up."""
    if not times:
        return ()
    padded = times + times[-1:] * (-len(times) % temporal)
    return tuple((padded[i] + padded[i + temporal - 1]) / 2 for i in range(0, len(padded), temporal))


def _check_aspect(height: int, width: int) -> None:
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_ASPECT_RATIO:
        raise ValueError(
            f"the long edge is {ratio:.0f} times the short one; "
            f"at most {MAX_ASPECT_RATIO} works: crop it first"
        )


def _shrink(height: int, width: int, factor: int, beta: float) -> tuple[int, int]:
    return (
        max(factor, math.floor(height / beta / factor) * factor),
        max(factor, math.floor(width / beta / factor) * factor),
    )


def _grow(height: int, width: int, factor: int, beta: float) -> tuple[int, int]:
    return math.ceil(height * beta / factor) * factor, math.ceil(width * beta / factor) * factor
