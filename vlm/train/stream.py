"""An endless stream of batches: scenes drawn, questioned and packed, from easy to full.

Every batch is made from its own seed alone, so a resumed run continues exactly and processes never
share a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import numpy as np

from vlm.config import PixelConfig
from vlm.inputs.patches import to_patches
from vlm.records import Frames
from vlm.train import questions, scenes
from vlm.train.cells import clip_cells, picture_cells
from vlm.train.pack import Batch, Earlier, Packer, Picture, Sample, Segment, Turn

# (rows, columns) of merged cells, for clips (frames, rows, columns), and how often: what the embedded
# model's limits let through without resizing.
PICTURE_GRIDS = {
    (6, 6): 8,
    (5, 5): 4,
    (5, 6): 2,
    (6, 5): 2,
    (4, 7): 1,
    (7, 4): 1,
    (5, 7): 1,
    (7, 5): 1,
    (4, 8): 1,
}
CLIP_SHAPES = {
    (4, 4, 4): 2,
    (4, 4, 5): 1,
    (4, 5, 4): 1,
    (6, 4, 4): 3,
    (6, 4, 5): 1,
    (6, 5, 4): 1,
    (8, 4, 4): 4,
}
CELL_PIXELS = 32
LONGEST = 96  # tokens of a segment
TEXTS = (1, 1, 2, 4, 6)  # many at once teach letters several times as fast


@dataclass(frozen=True)
class Difficulty:
    """What a batch is drawn from at some point of the run. Shares of batches, pictures or segments."""

    scene: dict  # for `scenes.random_scene`
    clips: float = 0.0  # of batches
    pairs: float = 0.0  # of batches: two pictures in one message
    earlier: float = 0.0  # of batches: with turns about another picture (or mere talk) before
    empty: float = 0.0  # of pictures: with nothing on them
    reading: float = 0.0  # of pictures: with text, and few things beside it
    texts: tuple[int, ...] = (1,)  # how many texts such a picture has, one drawn of these
    dialogues: float = 0.0  # of segments
    small_talk: float = 0.03  # of segments
    zh: float = 0.0  # of segments
    kinds: tuple[str, ...] = questions.IMAGE_KINDS
    clip_kinds: tuple[str, ...] = questions.VIDEO_KINDS
    clip_things: tuple[int, int] = (1, 3)
    split: str = "train"


PLAIN_KINDS = ("colour", "shape", "count", "count_of", "exists", "size", "where", "describe", "background")
CLIP_KINDS = ("video_direction", "video_which", "colour", "shape")


def difficulty(progress: float) -> Difficulty:
    """The curriculum: one plain thing, up to three, patterns and clips, and from the middle on everything."""
    if progress < 0.05:
        return Difficulty(dict(scenes.LEVELS[0]), kinds=PLAIN_KINDS, small_talk=0.01)
    if progress < 0.2:
        return Difficulty(dict(scenes.LEVELS[1]), kinds=PLAIN_KINDS)
    if progress < 0.35:
        return Difficulty(
            dict(scenes.LEVELS[2]), clips=0.15, dialogues=0.1, kinds=PLAIN_KINDS, clip_kinds=CLIP_KINDS
        )
    return Difficulty(
        {"count": (1, 4 if progress < 0.5 else 6)},
        clips=0.45, clip_things=(2, 3), pairs=0.06, earlier=0.08, empty=0.03, reading=0.3, texts=TEXTS,
        dialogues=0.12, zh=0.08,
    )  # fmt: skip


class Stream:
    """Makes batch number ``n`` of a run."""

    def __init__(self, packer: Packer, pixels: PixelConfig, *, batch: int, segments: int, seed: int):
        self.packer, self.pixels = packer, pixels
        self.batch, self.segments, self.seed = batch, segments, seed

    def make(self, number: int, level: Difficulty, group: int = 1) -> Batch:
        """Batch ``number``. A ``group`` of neighbouring batches shares its kind and size, so that the
        processes of one step take equally long."""
        samples = self.samples(number, level, group)
        return self.packer.pack([self._shortened(sample) for sample in samples])

    def _shortened(self, sample: Sample) -> Sample:
        """Without the few longest segments, which would make every branch of the batch as long."""
        kept = tuple(s for s in sample.segments if self.packer.length(s) <= LONGEST)
        return replace(sample, segments=kept)

    def samples(self, number: int, level: Difficulty, group: int = 1) -> list[Sample]:
        """What batch ``number`` is packed from."""
        rng, shape = Random(f"{self.seed}/{number}"), Random(f"{self.seed}/{number // group}/shape")
        draw = shape.random()
        if draw < level.clips:
            made = self._clips(rng, shape, level)
        elif draw < level.clips + level.pairs:
            made = self._pairs(rng, shape, level)
        else:
            made = self._pictures(rng, shape, level)
        return _with_earlier(rng, level, made) if shape.random() < level.earlier else made

    def scene(self, rng: Random, level: Difficulty) -> scenes.Scene:
        """One scene of a size that the model keeps."""
        return self._scene(rng, level, _size(*_pick(rng, PICTURE_GRIDS)))

    def _pictures(self, rng: Random, shape: Random, level: Difficulty) -> list[Sample]:
        size = _size(*_pick(shape, PICTURE_GRIDS))
        return [self._picture(rng, level, size) for _ in range(self.batch)]

    def _picture(self, rng: Random, level: Difficulty, size: dict) -> Sample:
        scene = self._scene(rng, level, size)
        ask = _asker(lambda: questions.ask(scene, rng, level.kinds, level.split, level.zh))
        # Letters are learnt from the cells' truth: few questions, and the time goes into more pictures.
        count = self.segments // 2 if any(thing.text for thing in scene.things) else self.segments
        return Sample((self.drawn(scene),), self._segments(rng, level, scene, ask, count))

    def _scene(self, rng: Random, level: Difficulty, size: dict) -> scenes.Scene:
        """Mostly things; some pictures show texts and few things beside them."""
        draw = rng.random()
        if draw < level.empty:
            return scenes.random_scene(rng, **size, **{**level.scene, "count": (0, 0)})
        if draw < level.empty + level.reading:
            scene = scenes.random_scene(rng, **size, **{**level.scene, "count": (0, 2)})
            return scenes.with_text(scene, rng, rng.choice(level.texts))
        return scenes.random_scene(rng, **size, **level.scene)

    def drawn(self, scene: scenes.Scene) -> Picture:
        """A scene as the model gets it."""
        image, owner = scenes.draw(scene)
        patches = to_patches(_frames("image", image[None]), self.pixels)
        return Picture(patches, picture_cells(scene, owner, patches))

    def _pairs(self, rng: Random, shape: Random, level: Difficulty) -> list[Sample]:
        """Two pictures in one message, half of them of single things, which can be compared."""
        size = _size(*_pick(shape, PICTURE_GRIDS))
        # An even number, so that a wrong pair keeps first and second.
        return [self._pair(rng, level, size) for _ in range(max(2, self.batch // 4 * 2))]

    def _pair(self, rng: Random, level: Difficulty, size: dict) -> Sample:
        counts = (1, 1) if rng.random() < 0.5 else level.scene["count"]
        first, second = (
            scenes.random_scene(rng, **size, **{**level.scene, "count": counts}) for _ in range(2)
        )
        if counts == (1, 1) and rng.random() < 0.5:
            second = scenes.alike(first, second, rng)
        ask = _asker(lambda: questions.ask_pair(first, second, rng, split=level.split))
        level = replace(level, dialogues=0.0)
        pictures = (self.drawn(first), self.drawn(second))
        return Sample(pictures, self._segments(rng, level, (first, second), ask, self.segments))

    def _clips(self, rng: Random, shape: Random, level: Difficulty) -> list[Sample]:
        frames, rows, columns = _pick(shape, CLIP_SHAPES)
        fps = rng.choice((0.5, 1.0, 2.0, 2.0, 2.0, 4.0))
        size = {**_size(rows, columns), "frames": (frames, frames)}
        # A clip has several times the tokens of a picture: fewer fit into the same time.
        count = max(1, self.batch * 3 // 4)
        return [self._clip(rng, level, size, fps) for _ in range(count)]

    def _clip(self, rng: Random, level: Difficulty, size: dict, fps: float) -> Sample:
        options = {name: value for name, value in level.scene.items() if name != "count"}
        clip = scenes.random_clip(rng, **size, count=level.clip_things, **options)
        images, owners = scenes.draw_clip(clip)
        times = tuple(index / fps for index in range(len(images)))
        patches = to_patches(_frames("video", images, times), self.pixels)
        cells = clip_cells(clip, owners, patches)
        ask = _asker(lambda: questions.ask_clip(clip, rng, level.clip_kinds, level.split, level.zh))
        # What happens is learnt from many clips, not from many questions.
        count = max(1, self.segments * 3 // 4)
        return Sample((Picture(patches, cells),), self._segments(rng, level, clip, ask, count))

    def _segments(self, rng: Random, level: Difficulty, truth, ask, count: int) -> tuple[Segment, ...]:
        made = []
        for _ in range(count):
            draw = rng.random()
            if draw < level.small_talk:
                question = questions.smalltalk(rng, split=level.split, zh=level.zh)
                made.append(Segment((_turn(question),), blind=rng.random() < 0.5))
            elif draw < level.small_talk + level.dialogues:
                made += _dialogue(truth, rng, level)
            elif question := ask():
                made.append(Segment((_turn(question),)))
        return tuple(made)


def _size(rows: int, columns: int) -> dict:
    return {"width": columns * CELL_PIXELS, "height": rows * CELL_PIXELS}


def _with_earlier(rng: Random, level: Difficulty, samples: list[Sample]) -> list[Sample]:
    """Put a turn about a neighbour's picture, or mere talk, before the samples; fewer, as they are longer."""
    kept = samples[: max(1, 2 * len(samples) // 3)]
    others = samples[1:] + samples[:1]
    return [
        replace(sample, earlier=_earlier(rng, level, other))
        for sample, other in zip(kept, others, strict=False)
    ]


def _earlier(rng: Random, level: Difficulty, other: Sample) -> tuple[Earlier, ...]:
    if rng.random() < 0.2 or len(other.pictures) > 1:
        return (Earlier(_turn(questions.smalltalk(rng, split=level.split))),)
    turns = [turn for segment in other.segments if not segment.blind for turn in segment.turns[:1]]
    return (Earlier(rng.choice(turns), other.pictures[0]),) if turns else ()


def _frames(kind: str, pixels: np.ndarray, times: tuple[float, ...] = ()) -> Frames:
    return Frames(kind, "scene", pixels, pixels.shape[2], pixels.shape[1], "", times)


def _pick(rng: Random, weights: dict):
    return rng.choices(list(weights), list(weights.values()))[0]


def _turn(question: questions.Question) -> Turn:
    return Turn(_kind(question), question.text, question.answer)


def _kind(question: questions.Question) -> str:
    """The kind, with large numbers apart: what is promised holds up to four."""
    large = question.kind == "count" and question.answer in ("five", "six", "五", "六")
    return "count_5_6" if large else question.kind


def _dialogue(truth, rng: Random, level: Difficulty) -> list[Segment]:
    """One dialogue, or none where there is nothing to talk about. Later turns count as one kind of their
    own: what was said before may give their answers away."""
    asked = questions.dialogue(truth, rng, split=level.split)
    turns = [replace(_turn(question), kind=follow_up(question.kind)) for question in asked]
    if not turns:
        return []
    return [Segment((_turn(asked[0]), *turns[1:]))]


def follow_up(kind: str) -> str:
    """What a later turn counts as. Boxes stay apart, as they are judged by their overlap."""
    return "follow_up_box" if kind == "box" else "follow_up"


def _asker(ask):
    """Ask, never the same question twice about one picture."""
    seen = set()

    def fresh():
        for _ in range(4):
            question = ask()
            if question and question.text.lower() not in seen:
                seen.add(question.text.lower())
                return question
        return None

    return fresh
