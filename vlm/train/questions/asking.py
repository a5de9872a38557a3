"""Questions and true answers about scenes, clips and pairs of pictures: the door to all the kinds.

Everything is drawn from the caller's rng, so the same rng state gives the same questions. The split
"unseen" uses wordings (and prefixes) that "train" never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from vlm.train.questions import clip_facts, pair_facts, picture_facts
from vlm.train.questions.conversation import dialogue, smalltalk
from vlm.train.questions.wording import ZH_KINDS, Fact, Question, word
from vlm.train.scenes import random_clip, random_scene
from vlm.train.scenes.world import Clip, Scene

IMAGE_KINDS = tuple(picture_facts.WEIGHTS)
VIDEO_KINDS = tuple(clip_facts.WEIGHTS)
PAIR_KINDS = tuple(pair_facts.FACTS)
KINDS = (*IMAGE_KINDS, *clip_facts.FACTS, *PAIR_KINDS, "smalltalk", "beyond")


def _first_fact(kinds, weights, rng: Random, make: Callable[[str], Fact | None]) -> Fact | None:
    """Try kinds in a weighted random order until one has a fact to ask."""
    left = list(kinds)
    while left:
        kind = rng.choices(left, [weights.get(kind, 1) for kind in left])[0]
        fact = make(kind) or make(kind)  # a second try may pick a thing that can be singled out
        if fact:
            return fact
        left.remove(kind)
    return None


def _ask(kinds, weights, rng: Random, split: str, zh: float, noise: float, make) -> Question | None:
    spoken = [kind for kind in kinds if kind in ZH_KINDS]
    if spoken and rng.random() < zh:
        fact = _first_fact(spoken, weights, rng, lambda kind: make(kind, "zh"))
        if fact:
            return word(fact, rng, split, "zh", noise)
    fact = _first_fact(kinds, weights, rng, lambda kind: make(kind, "en"))
    return word(fact, rng, split, "en", noise) if fact else None


def ask(
    scene: Scene, rng: Random, kinds=None, split: str = "train", zh: float = 0.0, noise: float = 1.0
) -> Question | None:
    """A question about a picture, of one of `kinds` (default: IMAGE_KINDS); None where none applies.

    `zh` is the share of questions in Chinese, `noise` scales prefixes, spellings and typing slips.
    """

    def make(kind, lang):
        return picture_facts.FACTS[kind](scene, rng, lang)

    return _ask(kinds or IMAGE_KINDS, picture_facts.WEIGHTS, rng, split, zh, noise, make)


def ask_clip(
    clip: Clip, rng: Random, kinds=None, split: str = "train", zh: float = 0.0, noise: float = 1.0
) -> Question | None:
    """A question about a clip, of one of `kinds` (default: VIDEO_KINDS); None where none applies."""

    def make(kind, lang):
        return clip_facts.clip_fact(kind, clip, rng, lang)

    return _ask(kinds or VIDEO_KINDS, clip_facts.WEIGHTS, rng, split, zh, noise, make)


def ask_pair(
    first: Scene, second: Scene, rng: Random, kinds=None, split: str = "train", noise: float = 1.0
) -> Question | None:
    """A question about two pictures, of one of `kinds` (default: PAIR_KINDS); None where none applies."""

    def make(kind, _lang):
        return pair_facts.FACTS[kind](first, second, rng)

    return _ask(kinds or PAIR_KINDS, {}, rng, split, 0.0, noise, make)


def _some_questions(rng: Random) -> list[Question | None]:
    scene = random_scene(rng, count=(0, 6), text=0.1)
    questions = [ask(scene, rng, zh=0.3) for _ in range(4)]
    clip = random_clip(rng)
    questions += [ask_clip(clip, rng, zh=0.1), ask_pair(scene, random_scene(rng), rng)]
    return [*questions, smalltalk(rng, zh=0.2), *dialogue(scene, rng)]


def corpus(seed: int, n: int) -> Iterator[str]:
    """`n` lines of question and answer, in both languages: text to train a tokenizer on."""
    rng, made = Random(seed), 0
    while made < n:
        for question in _some_questions(rng):
            if question and made < n:
                made += 1
                yield f"{question.text} {question.answer}"
