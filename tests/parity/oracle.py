"""What the official code computes, as far as possible without ours.

Where torchvision would be needed (the video processors) an exact stand-in follows the official code, and
where transformers 5.23 departs from Qwen's own code (`test_reference_bugs.py`) Qwen's rule is written out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from talks import Talk
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as resize_image
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as resize_video
from twins import Twin

from vlm.records import Frames

ANSWER = "@@"  # stands for the tokens of an earlier answer in the template


@dataclass(frozen=True)
class Medium:
    """Patches (P, patch_dim) of one picture or clip and its grid."""

    kind: str
    pixels: Tensor
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Prompt:
    ids: Tensor  # (1, T)
    positions: Tensor  # (3, 1, T)


def read_media(twin: Twin, talk: Talk) -> list[Medium]:
    return [_image(twin, m) if m.kind == "image" else _video(twin, m) for m in talk.media]


def _image(twin: Twin, frames: Frames) -> Medium:
    out = twin.image_processor(Image.fromarray(frames.pixels[0]), return_tensors="pt")
    return Medium("image", out["pixel_values"], tuple(out["image_grid_thw"][0].tolist()))


def _video(twin: Twin, frames: Frames) -> Medium:
    """``Qwen2VLVideoProcessor`` / ``Qwen3VLVideoProcessor`` with torchvision's resize replaced."""
    images, recipe = twin.image_processor, twin.recipe
    patch = recipe.vision["patch_size"]
    video = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)  # (F, 3, H, W) uint8
    size = _video_size(twin, *video.shape[::2], video.shape[3])
    video = F.interpolate(video, size=size, mode="bicubic", antialias=True).float() / 255
    mean, std = (torch.tensor(x)[:, None, None] for x in (images.image_mean, images.image_std))
    video = (video - mean) / std
    if len(video) % 2:
        video = torch.cat((video, video[-1:]))
    t, h, w = len(video) // 2, size[0] // patch, size[1] // patch
    cut = video.reshape(1, t, 2, 3, h // 2, 2, patch, w // 2, 2, patch)  # as the official patchify
    cut = cut.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(t * h * w, -1)
    return Medium("video", cut, (t, h, w))


def _video_size(twin: Twin, frames: int, height: int, width: int) -> tuple[int, int]:
    """The hub's files give Qwen3-VL limits over all frames, and the others the image limits a frame."""
    cell = (2 * twin.recipe.vision["patch_size"]) ** 2
    if twin.recipe.modern:  # one frame is refused by the official code: it counts as the two it becomes
        limits = {"min_pixels": 8 * cell, "max_pixels": 60 * cell}
        return resize_video(max(frames, 2), height, width, factor=32, **limits)
    return resize_image(height, width, 28, 4 * cell, 40 * cell)


def build_prompt(twin: Twin, talk: Talk, media: list[Medium]) -> Prompt:
    """Placeholders written out as text, one tokenizer call a piece between answers, Qwen's positions."""
    marked = [message | ({"content": ANSWER} if "ids" in message else {}) for message in talk.messages]
    text = twin.tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    pieces = write_placeholders(twin, text, talk, media).split(ANSWER)
    ids: list[int] = []
    for piece, answer in zip(pieces, (*talk.answers, ()), strict=True):
        ids += [*twin.tokenizer.encode(piece, add_special_tokens=False), *answer]
    return Prompt(torch.tensor([ids]), qwen_positions(twin, ids, talk, media)[:, None])


def write_placeholders(twin: Twin, text: str, talk: Talk, media: list[Medium]) -> str:
    """Each placeholder of the template becomes as many as its medium has merged cells."""
    queue, clips = iter(media), iter(talk.videos)

    def write(match: re.Match) -> str:
        t, h, w = (medium := next(queue)).grid
        pads = f"<|{medium.kind}_pad|>" * (h * w // 4)
        if medium.kind == "image" or not twin.recipe.modern:
            return f"<|vision_start|>{t * pads}<|vision_end|>"
        times = frame_times(next(clips))
        return "".join(f"<{time:.1f} seconds><|vision_start|>{pads}<|vision_end|>" for time in times)

    return re.sub(r"<\|vision_start\|><\|(image|video)_pad\|><\|vision_end\|>", write, text)


def frame_times(frames: Frames) -> list[float]:
    """``Qwen3VLProcessor._calculate_timestamps`` for frames 0, 1, 2, … at the clip's own rate."""
    indices = list(range(len(frames.pixels)))
    indices += indices[-1:] * (len(indices) % 2)
    return [(indices[i] + indices[i + 1]) / 2 / frames.source_fps for i in range(0, len(indices), 2)]


def qwen_positions(twin: Twin, ids: list[int], talk: Talk, media: list[Medium]) -> Tensor:
    """(3, T): ``get_rope_index`` of Qwen's own release, which reads the ids from left to right.

    Text continues at the largest id so far plus one, after images and videos alike.
    """
    config = twin.reference.config
    grids, rates = [], []
    videos = iter(talk.videos)
    for medium in media:
        clip = next(videos) if medium.kind == "video" else None
        split = clip is not None and twin.recipe.modern
        grids += [(1, *medium.grid[1:])] * medium.grid[0] if split else [medium.grid]
        rates += [_time_step(twin, clip)] * (medium.grid[0] if split else 1)
    rows: list[tuple[float, int, int]] = []
    index, following = 0, 0
    for (t, h, w), rate in zip(grids, rates, strict=True):
        while ids[index] not in (config.image_token_id, config.video_token_id):
            rows.append((following,) * 3)
            index, following = index + 1, following + 1
        cells = [(k, i, j) for k in range(t) for i in range(h // 2) for j in range(w // 2)]
        rows += [(following + int(k * rate), following + i, following + j) for k, i, j in cells]
        index, following = index + len(cells), max(max(row) for row in rows) + 1
    rows += [(following + i,) * 3 for i in range(len(ids) - index)]
    return torch.tensor(rows).T


def _time_step(twin: Twin, clip: Frames | None) -> float:
    """Temporal ids from one frame pair to the next: Qwen2.5-VL counts seconds, the others pairs."""
    if clip is None or "tokens_per_second" not in twin.recipe.vision:
        return 1.0
    return twin.recipe.vision["tokens_per_second"] * (2 / clip.source_fps)


@torch.no_grad()
def encode(twin: Twin, medium: Medium) -> tuple[Tensor, list[Tensor]]:
    """Features (V, D) of one medium and its DeepStack taps."""
    door = twin.reference.get_image_features if medium.kind == "image" else twin.reference.get_video_features
    out = door(medium.pixels, torch.tensor([medium.grid]), return_dict=True)
    taps = getattr(out, "deepstack_features", None) or []
    return torch.cat(tuple(out.pooler_output)), [torch.cat(tuple(tap)) for tap in taps]


@torch.no_grad()
def logits(twin: Twin, prompt: Prompt, media: list[Medium], answer: tuple[int, ...] = ()) -> Tensor:
    """(T + answer, vocabulary): one pass without a cache over the prompt and an answer behind it."""
    start = int(prompt.positions.max()) + 1
    behind = torch.arange(start, start + len(answer)).expand(3, 1, -1)
    inputs = {
        "input_ids": torch.cat((prompt.ids, torch.tensor([answer], dtype=torch.long)), dim=1),
        "position_ids": torch.cat((prompt.positions, behind), dim=2),
    }
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        own = [medium for medium in media if medium.kind == kind]
        if own:
            inputs[pixels] = torch.cat([medium.pixels for medium in own])
            inputs[f"{kind}_grid_thw"] = torch.tensor([medium.grid for medium in own])
    return twin.reference(**inputs, use_cache=False).logits[0]


@dataclass(frozen=True)
class Expected:
    media: list[Medium]
    prompt: Prompt
    vision: list[tuple[Tensor, list[Tensor]]]
    logits: Tensor


_memo: dict[tuple, Expected] = {}


def expect(twin: Twin, talk: Talk) -> Expected:
    """Everything official about one talk, computed once a session."""
    key = twin.folder, repr(talk.messages), tuple(frames.digest for frames in talk.media)
    if key not in _memo:
        media = read_media(twin, talk)
        prompt = build_prompt(twin, talk, media)
        vision = [encode(twin, medium) for medium in media]
        _memo[key] = Expected(media, prompt, vision, logits(twin, prompt, media))
    return _memo[key]
