"""Draws the example media, and lists questions about them with whether the embedded model answers right.

``python examples/make_examples.py`` writes the media and examples.json; run it again after training.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import vlm  # noqa: E402
from vlm.chat.session import ChatSession, Engine  # noqa: E402
from vlm.train.scenes import BACKGROUNDS, Background, Clip, Motion, Scene, Thing, draw, draw_clip  # noqa: E402
from vlm.train.scenes.world import COLOURS, SIZES  # noqa: E402

EDGE = 224  # pixels
CLIP_FPS = 8


def thing(shape: str, colour: str, size: str, x: float, y: float, text: str = "") -> Thing:
    return Thing(shape, colour, size, "plain", x, y, sum(SIZES[size]) / 2, 0.0, COLOURS[colour], text)


def scene(ground: str, *things: Thing) -> Scene:
    return Scene(EDGE, EDGE, Background(ground, BACKGROUNDS[ground], "gradient"), things, seed=7)


PICTURES = {
    "circle.png": scene("pale grey", thing("circle", "red", "large", 0.5, 0.5)),
    "shapes.png": scene(
        "white",
        thing("square", "blue", "medium", 0.24, 0.26),
        thing("triangle", "green", "medium", 0.76, 0.24),
        thing("heart", "red", "medium", 0.5, 0.74),
    ),
    "star.png": scene(
        "dark blue",
        thing("star", "yellow", "medium", 0.17, 0.17),
        thing("heart", "pink", "medium", 0.7, 0.68),
    ),
    "sign.png": scene(
        "pale yellow",
        thing("text", "red", "large", 0.5, 0.42, "STOP"),
        thing("square", "blue", "small", 0.2, 0.82),
    ),
    "stars.png": scene(
        "white",
        thing("star", "purple", "medium", 0.25, 0.3),
        thing("star", "red", "medium", 0.72, 0.66),
    ),
}
# What an example shows → questions in order of preference, as (files, question, a word of a right answer):
# the first one that the embedded model answers right is taken, or else the first. The page offers six kinds,
# so the last one stands in where the embedded model cannot do another.
CANDIDATES = {
    "a scene": [(["shapes.png"], "Describe the picture.", "green triangle")],
    "a count": [(["shapes.png"], "How many objects are there?", "three")],
    "a position": [(["star.png"], "Where is the star?", "top left")],
    "text": [
        (["sign.png"], "What is written in the picture?", "stop"),
        (["sign.png"], "Read the text in the picture.", "stop"),
    ],
    "two pictures": [
        (["star.png", "shapes.png"], "How many objects are in the second picture?", "three"),
        (["circle.png", "shapes.png"], "What colour is the triangle in the second picture?", "green"),
        (["shapes.png", "stars.png"], "Which picture has a star?", "second"),
        (["stars.png", "star.png"], "Do both pictures show the same shape?", "yes"),
    ],
    "motion": [(["moving_circle.mp4"], "Which way does the circle move?", "right")],
    "colour": [(["circle.png"], "What colour is the circle?", "red")],
}
POSTERS, PAIR = {"moving_circle.mp4": "moving_circle_poster.png"}, "two_pictures_poster.png"


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


def chosen() -> Iterator[dict]:
    """One entry of examples.json for each kind."""
    checkpoint = vlm.load("tiny", device="cpu")
    engine = Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name)
    for shows, candidates in CANDIDATES.items():
        right = next((it for it in candidates if answers_right(engine, *it)), None)
        files, question, answer = right or candidates[0]
        poster = PAIR if len(files) == 2 else POSTERS.get(files[0], files[0])
        if poster == PAIR:
            draw_pair(files)
        yield {
            "shows": shows, "files": files, "poster": poster, "question": question, "answer": answer,
            "embedded": right is not None,
        }  # fmt: skip


def answers_right(engine: Engine, files: list[str], question: str, answer: str) -> bool:
    *_, trace = ChatSession(engine).ask(question, [HERE / file for file in files])
    print(f"{question} {trace.answer}")
    return answer in trace.answer.lower()


def draw_pair(files: list[str]) -> None:
    """Both pictures of an example on one poster."""
    poster = Image.new("RGB", (EDGE, EDGE), "white")
    for corner, file in ((0, files[0]), (EDGE * 2 // 5, files[1])):
        poster.paste(Image.open(HERE / file).resize((EDGE * 3 // 5, EDGE * 3 // 5)), (corner, corner))
    poster.save(HERE / PAIR, optimize=True)


def write_list(entries: list[dict]) -> None:
    """One entry a line."""
    lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in entries)
    (HERE / "examples.json").write_text(f"[\n{lines}\n]\n")


def main() -> None:
    for name, picture in PICTURES.items():
        Image.fromarray(draw(picture)[0]).save(HERE / name, optimize=True)
    frames = moving_circle()
    write_clip(HERE / "moving_circle.mp4", frames, CLIP_FPS)
    # A button shows a still picture: three moments of the clip, laid over each other.
    Image.fromarray(frames[[0, len(frames) // 2, -1]].min(axis=0)).save(HERE / "moving_circle_poster.png")
    write_list(list(chosen()))


if __name__ == "__main__":
    main()
