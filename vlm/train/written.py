"""Answers that must be written out to be judged: boxes, points and descriptions.

A box is right where it overlaps the true one by half (intersection over union), a point where it lies inside
the true box, and a description by the share of what it states that is true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from collections.abc import Sequence as Items
from random import Random

import torch

from vlm.families.base import Checkpoint
from vlm.inputs.sequence import build_sequence, user_message
from vlm.records import Patches
from vlm.train import questions, scenes
from vlm.train.evaluate import Score
from vlm.train.questions import Question
from vlm.train.questions.picture_facts import place
from vlm.train.stream import Difficulty, Stream

KINDS = ("box", "point", "describe", "follow_up_box")
Box = tuple[float, float, float, float]


def written_scores(
    checkpoint: Checkpoint,
    stream: Stream,
    level: Difficulty,
    count: int,
    tick: Callable[[], None] = bool,
    kinds: tuple[str, ...] = KINDS,
) -> dict[str, Score]:
    """Judge ``count`` answers of each kind, beside those to the same questions about a wrong picture."""
    scores = {kind: Score() for kind in kinds}
    for kind, score in scores.items():
        rng, other = Random(f"{stream.seed}/{kind}/{level.split}"), None
        while score.asked < count:
            scene = stream.scene(rng, level)
            asked = _ask(kind, scene, rng, level.split)
            if asked is None:
                continue
            *before, question = asked
            patches = stream.drawn(scene).patches
            if other is not None:
                truth = json.loads(question.answer) if kind != "describe" else None
                score.asked += 1
                score.right += _judge(kind, write(checkpoint, patches, question.text, before), truth, scene)
                score.blind += _judge(kind, write(checkpoint, other, question.text, before), truth, scene)
                tick()
            other = patches
    return scores


def _ask(kind: str, scene: scenes.Scene, rng: Random, split: str) -> list[Question] | None:
    """A question of this kind, the last of the list, and in a dialogue those before it."""
    if kind != "follow_up_box":
        question = questions.ask(scene, rng, [kind], split)
        return question and [question]
    turns = questions.dialogue(scene, rng, split=split)
    last = next((i for i, turn in enumerate(turns) if i and turn.kind == "box"), None)
    return None if last is None else turns[: last + 1]


@torch.inference_mode()
def write(
    checkpoint: Checkpoint, patches: Patches, question: str, before: Items[Question] = (), most: int = 160
) -> str:
    """The greedy answer to one question about one picture or clip, after turns that were answered right."""
    model, tokens = checkpoint.model, checkpoint.config.tokens
    messages, media = [], [patches]
    for turn in before:
        said = checkpoint.tokenizer.encode(turn.answer)
        messages += [user_message(turn.text, media), {"role": "assistant", "content": "", "ids": said}]
        media = []
    messages.append(user_message(question, media))
    sequence = build_sequence(messages, [patches], checkpoint.tokenizer, tokens)
    cache = model.new_cache(len(sequence) + most)
    logits = model.decoder.logits(model(sequence, model.encode([patches]), cache))[-1]
    ids: list[int] = []
    while (token := int(logits.argmax())) not in tokens.eos and len(ids) < most:
        ids.append(token)
        logits = model.step(token, len(sequence) + len(ids) - 1 + sequence.rope_delta, cache)
    return checkpoint.tokenizer.decode(ids)


def _judge(kind: str, answer: str, truth: dict | None, scene: scenes.Scene) -> float:
    if kind == "describe":
        true, stated = true_facts(answer, scene)
        return true / max(1, stated)
    said = _numbers(answer)
    if kind in ("box", "follow_up_box"):
        return float(len(said) == 4 and overlap(said, truth["bbox_2d"]) >= 0.5)
    x, y = truth["point_2d"]
    boxes = [scenes.box(thing, scene) for thing in scene.things]
    # The box of the thing whose centre the true point is.
    x0, y0, x1, y1 = min(boxes, key=lambda b: abs(b[0] + b[2] - 2 * x) + abs(b[1] + b[3] - 2 * y))
    return float(len(said) == 2 and x0 <= said[0] <= x1 and y0 <= said[1] <= y1)


def _numbers(answer: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", answer.replace("_2d", ""))]


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    areas = sum(max(0, b[2] - b[0]) * max(0, b[3] - b[1]) for b in (first, second))
    return shared / (areas - shared) if areas > shared else 0.0


_GROUND = re.compile(r",? (?:on|only) an? ([a-z ]+) background\.$")
_MENTION = re.compile(r"(?:^|, | and )an? ", re.IGNORECASE)
_WORDS = {word: name for name, words in {
    "size": scenes.SIZES, "pattern": scenes.PATTERNS, "colour": scenes.COLOURS,
    "shape": (*scenes.SHAPES, "text"),
}.items() for word in words}  # fmt: skip


def true_facts(caption: str, scene: scenes.Scene) -> tuple[int, int]:
    """How many of the facts that an English description states are true, and how many it states.

    A fact is the size, pattern, colour, shape, text or place of one thing, or the background. Each mention is
    held against the thing that it fits best, and no thing serves two mentions.
    """
    ground = _GROUND.search(caption)
    true = int(ground is not None and ground[1] == scene.background.name)
    stated = int(ground is not None)
    if caption.startswith("Nothing"):
        true, stated = true + (not scene.things), stated + 1
    left = list(scene.things)
    for mention in _mentions(caption[: ground.start()] if ground else caption):
        stated += len(mention)
        best = max(left, key=lambda thing: _agreeing(mention, thing), default=None)
        if best is not None:
            true += _agreeing(mention, best)
            left.remove(best)
    return true, stated


def _mentions(text: str) -> list[dict[str, str]]:
    """ "A small red star at the top" → {"size": "small", "colour": "red", "shape": "star", "place": …}."""
    return [facts for part in _MENTION.split(text)[1:] if (facts := _facts(part))]


def _facts(part: str) -> dict[str, str]:
    head, *reading = re.split(r' "([^"]*)" ?', part)
    words = head.split()
    facts = {_WORDS[word]: word for word in words if word in _WORDS}
    rest = reading[1] if reading else " ".join(words[_last_named(words) + 1 :])
    if rest:
        facts["place"] = rest.strip(" ,.")
    return facts | ({"text": reading[0]} if reading else {})


def _last_named(words: list[str]) -> int:
    return max((index for index, word in enumerate(words) if word in _WORDS), default=-1)


def _agreeing(mention: dict[str, str], thing: scenes.Thing) -> int:
    truth = {
        "place": place(thing),
        **{name: getattr(thing, name) for name in (*set(_WORDS.values()), "text")},
    }
    return sum(truth.get(name) == value for name, value in mention.items())
