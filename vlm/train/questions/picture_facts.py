"""Facts to ask about one picture, one function for each kind: (scene, rng, lang, index) -> Fact or None.

None means that the scene has no such fact, or none that could be asked without ambiguity.
"""

from __future__ import annotations

import json
from random import Random

from vlm.train.questions import relation_facts
from vlm.train.questions.relation_facts import solid
from vlm.train.questions.wording import (
    Fact,
    a,
    features_of,
    matching,
    noun_phrase,
    number,
    plural,
    refer,
    translate,
)
from vlm.train.scenes.drawing import box
from vlm.train.scenes.world import COLOURS, REGIONS, SHAPES, Scene, Thing, clear_of_borders, region

_PLACES = {"centre": "in the centre", "left": "on the left", "right": "on the right"}  # others: "at the ..."


def _pick(scene: Scene, rng: Random, index: int | None, text: bool = True) -> int | None:
    """The index given, or that of a random thing (with text=False: no text things)."""
    if index is not None:
        return index
    fit = [i for i, thing in enumerate(scene.things) if text or not thing.text]
    return rng.choice(fit) if fit else None


def _about(
    kind: str, scene: Scene, rng: Random, lang: str, index: int | None, answer, hide=(), text: bool = True
) -> Fact | None:
    """A fact about one thing: the one given (a follow-up calls it "it"), or one the question singles out.

    `answer` makes the answer from the thing, None where there is none.
    """
    chosen = _pick(scene, rng, index, text)
    if chosen is None:
        return None
    it = None if index is None else ("it", frozenset())
    found, said = refer(scene.things, chosen, rng, lang, hide) or it, answer(scene.things[chosen])
    if found is None or said is None:
        return None
    return Fact(kind, said, {"ref": found[0]}, None, chosen, found[1] | set(hide))


def _feature(name: str, text: bool):
    """The fact function for a plain feature of one thing."""

    def fact(scene: Scene, rng: Random, lang: str = "en", index: int | None = None) -> Fact | None:
        def answer(thing: Thing) -> str:
            return translate(getattr(thing, name), lang)

        return _about(name, scene, rng, lang, index, answer, (name,), text)

    return fact


def _count(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    # Whether letters are "objects" is anyone's guess, so scenes with text are not counted.
    if len(solid(scene)) < len(scene.things):
        return None
    return Fact("count", number(len(scene.things), lang))


def _near_misses(scene: Scene) -> list[dict[str, str]]:
    """Every colour and shape that are both there, but never together."""
    pairs = [{"colour": t.colour, "shape": o.shape} for t in scene.things for o in solid(scene)]
    return [features for features in pairs if not matching(scene.things, features)]


def _random_features(scene: Scene, rng: Random) -> dict[str, str]:
    """A colour, a shape or both; in a pair one of the two is often there."""
    names = rng.choice((("colour",), ("shape",), ("colour", "shape"), ("colour", "shape")))
    features = {"colour": rng.choice(tuple(COLOURS)), "shape": rng.choice(SHAPES)}
    shapes = solid(scene)
    if len(names) == 2 and shapes and rng.random() < 0.75:
        features |= features_of(rng.choice(shapes), (rng.choice(names),))
    return {name: features[name] for name in names}


def _absent(scene: Scene, rng: Random) -> dict[str, str]:
    """Features that no thing has, now and then a near miss, which is the hardest to deny."""
    near = _near_misses(scene)
    if near and rng.random() < 0.25:
        return rng.choice(near)
    while True:
        features = _random_features(scene, rng)
        if not matching(scene.things, features):
            return features


def _present(scene: Scene, rng: Random) -> dict[str, str] | None:
    shapes = solid(scene)
    names = rng.choice((("colour",), ("shape",), ("colour", "shape"), ("colour", "shape")))
    return features_of(rng.choice(shapes), names) if shapes else None


def _one(features: dict[str, str], rng: Random, lang: str) -> str:
    phrase = noun_phrase(features, rng, lang)
    return phrase if lang == "zh" else a(phrase)


def _exists(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    features = _present(scene, rng) if rng.random() < 0.5 else None
    answer = "yes" if features else "no"
    features = features or _absent(scene, rng)
    return Fact("exists", translate(answer, lang), {"a": _one(features, rng, lang)})


def _count_options(scene: Scene, rng: Random) -> list[tuple[dict[str, str], int]]:
    options = [_absent(scene, rng), _absent(scene, rng)]
    for names in (("colour",), ("shape",), ("colour", "shape")):
        options += [features_of(thing, names) for thing in solid(scene)]
    return [(features, len(matching(scene.things, features))) for features in options]


def _count_of(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    if len(solid(scene)) < len(scene.things):
        return None
    options = _count_options(scene, rng)
    counts = sorted({count for _, count in options})
    # Left alone, nearly every answer would be "none" or "one".
    chosen = rng.choices(counts, [(0.5, 1.0)[count] if count < 2 else 2.5 for count in counts])[0]
    features = rng.choice([features for features, count in options if count == chosen])
    phrase = noun_phrase(features, rng, lang)
    return Fact("count_of", number(chosen, lang), {"things": phrase if lang == "zh" else plural(phrase)})


def _where(scene: Scene, rng: Random, lang: str = "en", index: int | None = None) -> Fact | None:
    def answer(thing: Thing) -> str | None:
        return translate(region(thing), lang) if clear_of_borders(thing) else None

    return _about("where", scene, rng, lang, index, answer)


def _background(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact:
    return Fact("background", translate(scene.background.name, lang))


def _read(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    texts = [index for index, thing in enumerate(scene.things) if thing.text]
    if not texts:
        return None
    index = rng.choice(texts)
    thing = scene.things[index]
    if len(texts) > 1:
        found = refer(scene.things, index, rng)
        return found and Fact("read", thing.text, {"ref": found[0]}, "read_one", index, found[1])
    ref = rng.choice(("the text", "the text", "the writing", f"the {thing.colour} text"))
    return Fact("read", thing.text, {"ref": ref}, None, index, frozenset(("shape",)))


def _coarse(thousandths: float) -> int:
    """To the next ten: one pixel or two of the pictures, and the last digit need not be learnt."""
    return 10 * round(thousandths / 10)


def _box(scene: Scene, rng: Random, lang: str = "en", index: int | None = None) -> Fact | None:
    def answer(thing: Thing) -> str:
        return json.dumps({"bbox_2d": [_coarse(end) for end in box(thing, scene)]})

    return _about("box", scene, rng, lang, index, answer)


def _point(scene: Scene, rng: Random, lang: str = "en", index: int | None = None) -> Fact | None:
    def answer(thing: Thing) -> str:
        return json.dumps({"point_2d": [_coarse(1000 * thing.x), _coarse(1000 * thing.y)]})

    return _about("point", scene, rng, lang, index, answer)


def _features_told(thing: Thing) -> dict[str, str]:
    names = ["colour", "shape"] if thing.text else ["size", "colour", "shape"]
    return features_of(thing, names + (["pattern"] if thing.pattern != "plain" else []))


def place(thing: Thing) -> str:
    """Where a thing is, as a description says it: "at the top left", "in the centre"."""
    return _PLACES.get(region(thing), "at the " + region(thing))


def _mention(thing: Thing) -> str:
    reading = f' "{thing.text}"' if thing.text else ""
    return f"{a(noun_phrase(_features_told(thing), None))}{reading} {place(thing)}"


def _mention_zh(thing: Thing) -> str:
    reading = f"“{thing.text}”" if thing.text else ""
    return f"{translate(region(thing), 'zh')}有一个{noun_phrase(_features_told(thing), None, 'zh')}{reading}"


def caption(scene: Scene, lang: str = "en") -> str:
    """The whole picture in one sentence: its things in reading order, then the background."""
    things = sorted(scene.things, key=lambda thing: (REGIONS.index(region(thing)), thing.x))
    ground = translate(scene.background.name, lang)
    if lang == "zh":
        return (
            "，".join([ground + "背景上", *(map(_mention_zh, things) if things else ["什么都没有"])]) + "。"
        )
    parts = [_mention(thing) for thing in things]
    if not parts:
        return f"Nothing, only {a(ground)} background."
    start = " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:])
    return f"{start[0].upper()}{start[1:]}, on {a(ground)} background."


def _describe(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    return Fact("describe", caption(scene, lang)) if all(map(clear_of_borders, scene.things)) else None


FACTS = {
    "colour": _feature("colour", True),
    "shape": _feature("shape", False),
    "size": _feature("size", False),
    "pattern": _feature("pattern", False),
    "count": _count,
    "count_of": _count_of,
    "exists": _exists,
    "where": _where,
    "relation": relation_facts.relation,
    "nearest": relation_facts.nearest,
    "between": relation_facts.between,
    "largest": relation_facts.largest,
    "leftmost": relation_facts.leftmost,
    "background": _background,
    "read": _read,
    "box": _box,
    "point": _point,
    "describe": _describe,
}
# How often each is drawn where it can be asked: hard ones more often than a person would ask them.
WEIGHTS = {
    "colour": 10,
    "shape": 12,
    "size": 4,
    "pattern": 4,
    "count": 9,
    "count_of": 8,
    "exists": 14,
    "where": 10,
    "relation": 22,
    "nearest": 3,
    "between": 3,
    "largest": 10,
    "leftmost": 12,
    "background": 3,
    "read": 90,
    "box": 10,
    "point": 4,
    "describe": 12,
}
