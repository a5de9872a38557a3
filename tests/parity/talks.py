"""The conversations that every stage is compared on: messages and decoded media."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm.records import Frames

Part = str | Frames


@dataclass(frozen=True)
class Talk:
    """User turns, each a row of texts and media, and the tokens that answered the earlier ones."""

    turns: tuple[tuple[Part, ...], ...]
    answers: tuple[tuple[int, ...], ...] = ()

    @property
    def media(self) -> list[Frames]:
        return [part for turn in self.turns for part in turn if isinstance(part, Frames)]

    @property
    def videos(self) -> list[Frames]:
        return [frames for frames in self.media if frames.kind == "video"]

    @property
    def messages(self) -> list[dict]:
        rows = [{"role": "user", "content": [_content(part) for part in turn]} for turn in self.turns]
        for place, answer in enumerate(self.answers):
            rows.insert(2 * place + 1, {"role": "assistant", "content": "", "ids": list(answer)})
        return rows

    def first(self) -> Talk:
        """The talk as it was in its first turn."""
        return Talk(self.turns[:1])


def _content(part: Part) -> dict:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind}


def picture(width: int, height: int, seed: int = 0) -> Frames:
    """Smooth waves with sharp noise on top: both resampling and order show."""
    pixels = _pixels(1, height, width, seed)
    return Frames("image", "picture", pixels, width, height, f"{width}x{height} {seed}")


def clip(frames: int, width: int, height: int, fps: float, seed: int = 0) -> Frames:
    """Frames that differ from each other, shown at ``fps`` from second 0."""
    times = tuple(index / fps for index in range(frames))
    pixels = _pixels(frames, height, width, seed)
    return Frames("video", "clip", pixels, width, height, f"{frames}x{width}x{height} {seed}", times, fps)


def _pixels(frames: int, height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed)
    t, y, x, c = np.ogrid[:frames, :height, :width, :3]
    waves = 128 + 70 * np.sin(0.11 * x + 0.07 * y * (c + 1) + 0.9 * t + seed)
    return (waves + noise.integers(-50, 50, waves.shape)).clip(0, 255).astype(np.uint8)


TALKS = {
    "text": Talk((("Hello, is 你好 a word? 🙂",),)),
    "image": Talk(((picture(451, 300), "What is this?"),)),
    "two_images": Talk(((picture(200, 90), "before this one:", picture(90, 130, 1), "Compare."),)),
    "wide": Talk(((picture(400, 20), "Read it."),)),
    "tall": Talk(((picture(20, 400), "Read it."),)),
    "odd_frames": Talk((("Look:", clip(5, 120, 80, 1.0), "What moves?"),)),
    "one_frame": Talk(((clip(1, 120, 80, 2.0), "What is it?"),)),
    "many_frames": Talk(((clip(16, 70, 50, 2.0), "How does it end?"),)),
    "two_videos": Talk(((clip(6, 100, 64, 2.0), clip(6, 64, 100, 0.7, 1), "Which one is longer?"),)),
    "image_after_video": Talk(((clip(4, 110, 64, 3.0), "and then", picture(130, 200), "Why?"),)),
    "second_turn": Talk(
        ((picture(120, 200), "What is this?"), ("And this?", clip(4, 90, 64, 2.0), "Is it the same?")),
        (tuple(range(60, 80)),),
    ),
}
