"""Draws the example media of the page: ``python examples/make_examples.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from vlm.train.scenes import BACKGROUNDS, Background, Clip, Motion, Scene, Thing, draw, draw_clip  # noqa: E402
from vlm.train.scenes.world import COLOURS, SIZES  # noqa: E402

EDGE = 224  # pixels
CLIP_FPS = 8


def thing(shape: str, colour: str, size: str, x: float, y: float) -> Thing:
    return Thing(shape, colour, size, "plain", x, y, sum(SIZES[size]) / 2, 0.0, COLOURS[colour])


def scene(ground: str, *things: Thing) -> Scene:
    return Scene(EDGE, EDGE, Background(ground, BACKGROUNDS[ground], "gradient"), things, seed=7)


PICTURES = {
    "circle.png": scene("pale grey", thing("circle", "red", "large", 0.5, 0.5)),
    "shapes.png": scene(
        "white",
        thing("square", "blue", "medium", 0.24, 0.28),
        thing("triangle", "green", "medium", 0.76, 0.3),
        thing("circle", "orange", "medium", 0.5, 0.74),
    ),
    "star.png": scene(
        "dark blue",
        thing("star", "yellow", "medium", 0.17, 0.17),
        thing("heart", "pink", "medium", 0.7, 0.68),
    ),
}


def moving_circle() -> np.ndarray:
    """Frames of a blue circle that goes right for three seconds."""
    start, end = (0.17, 0.5), (0.83, 0.5)
    ground = scene("pale yellow", thing("circle", "blue", "medium", *start))
    clip = Clip(ground, (Motion(0, "moves", start, end, "right"),), frames=3 * CLIP_FPS, fps=CLIP_FPS)
    return draw_clip(clip)[0]


def write_clip(path: Path, frames: np.ndarray, fps: int) -> None:
    """H.264 in 4:2:0, which every browser plays."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    for name, picture in PICTURES.items():
        Image.fromarray(draw(picture)[0]).save(HERE / name, optimize=True)
    frames = moving_circle()
    write_clip(HERE / "moving_circle.mp4", frames, CLIP_FPS)
    # A button shows a still picture: three moments of the clip, laid over each other.
    Image.fromarray(frames[[0, len(frames) // 2, -1]].min(axis=0)).save(HERE / "moving_circle_poster.png")


if __name__ == "__main__":
    main()
