"""Draws scenes: anti-aliased shapes from signed distances, each worked out only inside its own box."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import cos, pi, sin, sqrt

import numpy as np
from PIL import ImageFont

from vlm.train.scenes.world import REACH, Background, Clip, Motion, Scene, Thing

# Each distance function takes u, v: float32 grids in radii about the centre, v downwards. Negative is inside.


def _circle(u, v):
    return np.sqrt(u * u + v * v) - 1.0


def _square(u, v):
    return np.maximum(np.abs(u), np.abs(v)) - 0.86


def _triangle(u, v):
    v = v - 0.18
    return np.maximum(np.abs(u) * 0.8660254 - v * 0.5, v) - 0.58


def _star(u, v):
    # Mirror the plane into one arm of the star, where its edge is a single straight line.
    x, y = np.abs(u), -v
    for nx in (0.80901699, -0.80901699):
        fold = 2.0 * np.maximum(nx * x - 0.58778525 * y, 0.0)
        x, y = x - nx * fold, y + 0.58778525 * fold
    x, y = np.abs(x), y - 1.2
    ex, ey = 0.46 * 0.58778525, 0.46 * 0.80901699 - 1.0
    return (y * ex - x * ey) / sqrt(ex * ex + ey * ey)


def _heart(u, v):
    # A square standing on its corner joined with two discs on its upper sides.
    x, y = np.abs(u) * 0.58, 0.53 - v * 0.58
    tilted = (np.maximum(np.abs(x + y - 0.5), np.abs(x - y + 0.5)) - 0.5) * 0.70710678
    disc = np.sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2) - 0.35355339
    return np.minimum(tilted, disc) / 0.58


def _cross(u, v):
    x, y = np.abs(u), np.abs(v)
    return np.maximum(np.maximum(x, y) - 1.05, np.minimum(x, y) - 0.36)


def _diamond(u, v):
    # Half as wide as it is tall, so that a turned square is never taken for one.
    return np.abs(u) * 0.8746 + np.abs(v) * 0.4848 - 0.5818


def _ring(u, v):
    return np.abs(np.sqrt(u * u + v * v) - 0.77) - 0.25


def _hexagon(u, v):
    x, y = np.abs(u), np.abs(v)
    return np.maximum(x * 0.8660254 + y * 0.5, y) - 0.90


def _crescent(u, v):
    bite = 0.82 - np.sqrt((u - 0.52) ** 2 + v * v)
    return np.maximum(np.sqrt(u * u + v * v) - 1.08, bite)


DISTANCES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "diamond": _diamond,
    "ring": _ring,
    "hexagon": _hexagon,
    "crescent": _crescent,
}


@lru_cache(maxsize=4096)
def glyphs(text: str, half: int) -> np.ndarray:
    """The ink (0..1, float32) of the text, cropped tight, fitted into a box of 3 * half by 1.3 * half."""
    left, top, right, bottom = ImageFont.load_default(64).getbbox(text)
    scale = min(3 * half / (right - left), 1.3 * half / (bottom - top))
    mask = ImageFont.load_default(max(6, 64 * scale)).getmask(text, mode="L")
    ink = np.asarray(mask, np.float32).reshape(mask.size[::-1]) / 255
    rows, columns = np.flatnonzero(ink.max(1) > 0.3), np.flatnonzero(ink.max(0) > 0.3)
    return np.ascontiguousarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _ink(thing: Thing, width: int, height: int) -> np.ndarray:
    return glyphs(thing.text, max(4, round(thing.radius * min(width, height))))


def half_size(thing: Thing, width: int, height: int) -> tuple[float, float]:
    """Half the width and half the height, in pixels, that a thing takes up (nearly, where it is a shape)."""
    if thing.text:
        rows, columns = _ink(thing, width, height).shape
        return columns / 2, rows / 2
    pixels = thing.radius * min(width, height)
    return pixels, pixels


def letters(thing: Thing, width: int, height: int) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Each character of a text with its x0, y0, x1, y1 in pixels, by the typeface's own widths."""
    across, down = half_size(thing, width, height)
    font = ImageFont.load_default(64)
    ends = [font.getlength(thing.text[:count]) for count in range(len(thing.text) + 1)]
    left, top = thing.x * width - across, thing.y * height - down
    places = [left + 2 * across * end / ends[-1] for end in ends]
    return [
        (character, (start, top, stop, top + 2 * down))
        for character, start, stop in zip(thing.text, places, places[1:], strict=False)
    ]


def _blend(rgb, target, share: float) -> tuple[float, ...]:
    return tuple(a + (b - a) * share for a, b in zip(rgb, target, strict=True))


def _second_tone(thing: Thing) -> tuple[float, ...]:
    """The tone of stripes and dots: a paler one, or a darker one where paler could not be seen."""
    if thing.colour in ("white", "yellow", "pink"):
        return _blend(thing.rgb, (0, 0, 0), 0.42)
    return _blend(thing.rgb, (255, 255, 255), 0.66)


def _outline_tone(thing: Thing, background: Background) -> tuple[int, int, int]:
    """Black, white or grey, whichever stands out most from both the thing and the background."""

    def contrast(tone):
        return min(sum(abs(tone[0] - part) for part in rgb) for rgb in (thing.rgb, background.rgb))

    return max(((0, 0, 0), (255, 255, 255), (140, 140, 140)), key=contrast)


def _decoration(thing: Thing, u, v, distance, pixels: float):
    """How much (0..1) of the pattern's second tone each pixel takes, or None for a plain thing."""
    if thing.pattern == "outlined":
        line = max(1.3, 0.11 * pixels) if thing.shape in ("ring", "crescent") else max(1.8, 0.17 * pixels)
        return np.clip(distance * np.float32(pixels) + np.float32(line + 0.5), 0.0, 1.0)
    step = max(0.52, 6.4 / pixels)  # radii from one stripe to the next, at least 6.4 pixels
    turn, sharp = np.float32(2 * pi / step), step * pixels / (2 * pi)
    if thing.pattern == "striped":
        return np.clip(np.sin((u + v) * (turn * np.float32(0.7071))) * np.float32(sharp) + 0.5, 0.0, 1.0)
    if thing.pattern == "dotted":
        turn *= np.float32(0.62)
        return np.clip((np.sin(u * turn) * np.sin(v * turn) - 0.22) * np.float32(1.6 * sharp) + 0.5, 0.0, 1.0)
    return None


def _window(low: float, high: float, limit: int) -> tuple[int, int]:
    return max(0, int(low)), min(limit, int(high) + 1)


def _shape_cover(thing: Thing, width: int, height: int):
    """The slice of the picture the thing can touch, its cover (0..1) there and its pattern's share."""
    pixels, cx, cy = thing.radius * min(width, height), thing.x * width, thing.y * height
    reach = pixels * REACH + 1
    x0, x1 = _window(cx - reach, cx + reach, width)
    y0, y1 = _window(cy - reach, cy + reach, height)
    xs = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - cx)) / np.float32(pixels)
    ys = ((np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - cy)) / np.float32(pixels))[:, None]
    c, s = np.float32(cos(thing.angle)), np.float32(sin(thing.angle))
    u, v = c * xs + s * ys, c * ys - s * xs
    distance = DISTANCES[thing.shape](u, v)
    cover = np.clip(0.5 - distance * np.float32(pixels), 0.0, 1.0)
    return (slice(y0, y1), slice(x0, x1)), cover, _decoration(thing, u, v, distance, pixels)


def _text_cover(thing: Thing, width: int, height: int):
    ink = _ink(thing, width, height)
    rows, columns = ink.shape
    top, left = round(thing.y * height - rows / 2), round(thing.x * width - columns / 2)
    y0, x0 = max(0, top), max(0, left)
    ink = ink[y0 - top : height - top, x0 - left : width - left]
    return (slice(y0, y0 + ink.shape[0]), slice(x0, x0 + ink.shape[1])), ink, None


def cover(thing: Thing, width: int, height: int):
    """Where a thing lies: (rows, columns) slices, its cover (0..1) there, and its pattern's share or None."""
    return (_text_cover if thing.shape == "text" else _shape_cover)(thing, width, height)


def _paint(canvas, owner, index: int, thing: Thing, background: Background) -> None:
    where, share, pattern = cover(thing, owner.shape[1], owner.shape[0])
    if pattern is not None:
        tone = _outline_tone(thing, background) if thing.pattern == "outlined" else _second_tone(thing)
    for channel, level in enumerate(thing.rgb):
        patch = canvas[channel][where]
        fill = level if pattern is None else level + pattern * np.float32(tone[channel] - level)
        patch += share * (fill - patch)
    owner[where][share > (0.3 if thing.text else 0.5)] = index


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """One fixed sheet of noise; pictures cut their own piece from it, which is far cheaper."""
    rough = np.random.default_rng(7).standard_normal((640, 640), np.float32)
    return (rough + np.roll(rough, 1, 0) + np.roll(rough, 1, 1)) * np.float32(4.0)


def _noise(height: int, width: int, seed: int) -> np.ndarray:
    y, x = seed % 320, seed // 320 % 320
    rows, columns = -(-(y + height) // 640), -(-(x + width) // 640)
    sheet = _grain() if rows == columns == 1 else np.tile(_grain(), (rows, columns))
    return sheet[y : y + height, x : x + width]


def _gradient(height: int, width: int, seed: int) -> np.ndarray:
    lean = (seed % 628) / 100  # any direction
    across = np.linspace(-16 * cos(lean), 16 * cos(lean), width, dtype=np.float32)
    down = np.linspace(-16 * sin(lean), 16 * sin(lean), height, dtype=np.float32)
    return across + down[:, None]


def _backdrop(scene: Scene) -> np.ndarray:
    """The background as float32 (3, H, W): planes first, because numpy is slow on a last axis of three."""
    canvas = np.empty((3, scene.height, scene.width), np.float32)
    canvas[:] = np.array(scene.background.rgb, np.float32)[:, None, None]
    texture = {"noise": _noise, "gradient": _gradient}.get(scene.background.texture)
    if texture:
        canvas += texture(scene.height, scene.width, scene.seed)
        np.clip(canvas, 0.0, 255.0, out=canvas)
    return canvas


def _finish(canvas: np.ndarray) -> np.ndarray:
    image = np.empty((*canvas.shape[1:], 3), np.uint8)
    for channel in range(3):
        image[..., channel] = canvas[channel]
    return image


def _draw_on(canvas: np.ndarray, background: Background, things) -> tuple[np.ndarray, np.ndarray]:
    owner = np.full(canvas.shape[1:], -1, np.int8)
    for index, thing in things:
        _paint(canvas, owner, index, thing, background)
    return _finish(canvas), owner


def draw(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene: the picture, uint8 (H, W, 3), and the owner of each pixel, int8 (H, W).

    The owner is the index of the thing seen there, -1 for the background.
    """
    return _draw_on(_backdrop(scene), scene.background, enumerate(scene.things))


def between(motion: Motion, share: float) -> tuple[float, float]:
    """Where a thing is when it has done this share (0..1) of its way."""
    return tuple(a + (b - a) * share for a, b in zip(motion.start, motion.end, strict=True))


def things_at(clip: Clip, frame: int) -> list[tuple[int, Thing]]:
    """The things to be seen in one frame of a clip, each with its index, where they are by then."""
    share = frame / max(1, clip.frames - 1)
    seen = []
    for motion in clip.motions:
        hidden = {"appears": frame < motion.frame, "disappears": frame >= motion.frame}
        if not hidden.get(motion.kind, False):
            x, y = between(motion, share)
            seen.append((motion.thing_index, replace(clip.scene.things[motion.thing_index], x=x, y=y)))
    return seen


def draw_clip(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Draw a clip: its frames, uint8 (F, H, W, 3), and the owner of each pixel, int8 (F, H, W)."""
    backdrop, ground = _backdrop(clip.scene), clip.scene.background
    drawn = [_draw_on(backdrop.copy(), ground, things_at(clip, frame)) for frame in range(clip.frames)]
    images, owners = zip(*drawn, strict=True)
    return np.stack(images), np.stack(owners)


def box(thing: Thing, scene: Scene) -> tuple[int, int, int, int]:
    """The tight box x0, y0, x1, y1 of the whole thing, in thousandths of the width and height."""
    (rows, columns), share, _ = cover(thing, scene.width, scene.height)
    inside = share > (0.3 if thing.text else 0.5)
    xs, ys = np.flatnonzero(inside.any(0)) + columns.start, np.flatnonzero(inside.any(1)) + rows.start
    ends = (xs[0], scene.width), (ys[0], scene.height), (xs[-1] + 1, scene.width), (ys[-1] + 1, scene.height)
    return tuple(round(1000 * int(end) / whole) for end, whole in ends)
