"""Facts to ask about one picture, one function for each kind: (scene, rng, lang, index) -> Fact or None.

None means that the scene has no such fact, or none that could be asked without ambiguity.
"""

from __future__ import annotations

import json
from itertools import combinations
from math import hypot
from random import Random

from vlm.train.questions.wording import (
    Fact,
    a,
    features_of,
    matching,
    name_of,
    noun_phrase,
    number,
    plural,
    refer,
    translate,
)
from vlm.train.scenes.drawing import box
from vlm.train.scenes.world import COLOURS, REGIONS, SHAPES, SIZES, Scene, Thing, clear_of_borders, region

_PLACES = {"centre": "in the centre", "left": "on the left", "right": "on the right"}  # others: "at the ..."


def _solid(scene: Scene) -> list[Thing]:
    return [thing for thing in scene.things if not thing.text]


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
    if len(_solid(scene)) < len(scene.things):
        return None
    return Fact("count", number(len(scene.things), lang))


def _near_misses(scene: Scene) -> list[dict[str, str]]:
    """Every colour and shape that are both there, but never together."""
    pairs = [{"colour": t.colour, "shape": o.shape} for t in scene.things for o in _solid(scene)]
    return [features for features in pairs if not matching(scene.things, features)]


def _random_features(scene: Scene, rng: Random) -> dict[str, str]:
    """A colour, a shape or both; in a pair one of the two is often there."""
    names = rng.choice((("colour",), ("shape",), ("colour", "shape"), ("colour", "shape")))
    features = {"colour": rng.choice(tuple(COLOURS)), "shape": rng.choice(SHAPES)}
    solid = _solid(scene)
    if len(names) == 2 and solid and rng.random() < 0.75:
        features |= features_of(rng.choice(solid), (rng.choice(names),))
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
    solid = _solid(scene)
    names = rng.choice((("colour",), ("shape",), ("colour", "shape"), ("colour", "shape")))
    return features_of(rng.choice(solid), names) if solid else None


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
        options += [features_of(thing, names) for thing in _solid(scene)]
    return [(features, len(matching(scene.things, features))) for features in options]


def _count_of(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    if len(_solid(scene)) < len(scene.things):
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


def _side(first: Thing, second: Thing) -> tuple[int, int] | None:
    """(axis, sign) of the way from the second thing to the first; None when it is not clear-cut."""
    dx, dy = first.x - second.x, first.y - second.y
    if max(abs(dx), abs(dy)) < 0.15 or abs(abs(dx) - abs(dy)) < 0.05:
        return None
    return (0, 1 if dx > 0 else -1) if abs(dx) > abs(dy) else (1, 1 if dy > 0 else -1)


_SIDES = {(0, -1): "left", (0, 1): "right", (1, -1): "above", (1, 1): "below"}
_SIDE_PHRASES = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above",),
    "below": ("below", "under"),
}


def _relation_yes(side: tuple[int, int], slots: dict[str, str], rng: Random) -> Fact:
    true = rng.random() < 0.5
    claimed = _SIDES[side if true else (side[0], -side[1])]
    return Fact(
        "relation",
        "yes" if true else "no",
        slots | {"side": rng.choice(_SIDE_PHRASES[claimed])},
        "relation_yes",
    )


def _relation_side(side: tuple[int, int], slots: dict[str, str], rng: Random) -> Fact:
    names = [_SIDES[side[0], sign] for sign in rng.sample((-1, 1), 2)]
    options = " or ".join(names)
    pair = f"to the {names[0]} or to the {names[1]} of" if side[0] == 0 else options
    return Fact("relation", _SIDES[side], slots | {"pair": pair, "options": options}, "relation_side")


def _relation(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    if len(scene.things) < 2:
        return None
    first, second = rng.sample(range(len(scene.things)), 2)
    side = _side(scene.things[first], scene.things[second])
    found = [refer(scene.things, i, rng) for i in (first, second)]
    if side is None or None in found:
        return None
    slots = {"ref": found[0][0], "other": found[1][0]}
    return (_relation_yes if rng.random() < 0.6 else _relation_side)(side, slots, rng)


def _nearest(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    """Which thing is nearest to this one; asked when the next is clearly further."""
    if len(scene.things) < 3:
        return None
    index = rng.randrange(len(scene.things))
    others = [i for i in range(len(scene.things)) if i != index]
    others.sort(key=lambda i: _gap(scene, i, index))
    found = refer(scene.things, index, rng)
    if found is None or _gap(scene, others[1], index) < 1.25 * _gap(scene, others[0], index):
        return None
    return Fact("nearest", name_of(scene.things, others[0]), {"ref": found[0]})


def _gap(scene: Scene, first: int, second: int) -> float:
    """Pixels between the centres of two things."""
    a, b = scene.things[first], scene.things[second]
    return hypot((a.x - b.x) * scene.width, (a.y - b.y) * scene.height)


def _between(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    """Which thing is between two others: the only one near the line between them."""
    order = list(range(len(scene.things)))
    rng.shuffle(order)
    for a, b in combinations(order, 2):
        shares = {i: _detour(scene, i, a, b) for i in order if i not in (a, b)}
        near = [i for i, detour in shares.items() if detour < 1.06]
        if len(near) == 1 and all(detour > 1.25 for i, detour in shares.items() if i != near[0]):
            found = [refer(scene.things, i, rng) for i in (a, b)]
            if None not in found:
                slots = {"ref": found[0][0], "other": found[1][0]}
                return Fact("between", name_of(scene.things, near[0]), slots)
    return None


def _detour(scene: Scene, over: int, first: int, second: int) -> float:
    """How much longer the way from the first thing to the second is by way of another."""
    return (_gap(scene, first, over) + _gap(scene, over, second)) / _gap(scene, first, second)


def _superlative(kind: str, scene: Scene, rng: Random, index: int, most: str) -> Fact:
    aspect = rng.choice(("colour", "shape", "name"))
    thing = scene.things[index]
    answer = name_of(scene.things, index) if aspect == "name" else getattr(thing, aspect)
    told = frozenset(("colour", "shape") if aspect == "name" else (aspect,))
    return Fact(kind, answer, {"most": most}, "most_" + aspect, index, told)


def _largest(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    ranks = [tuple(SIZES).index(thing.size) for thing in scene.things]
    words, end = rng.choice(((("largest", "biggest"), max), (("smallest",), min)))
    if len(ranks) < 2 or len(_solid(scene)) < len(ranks) or ranks.count(end(ranks)) != 1:
        return None
    return _superlative("largest", scene, rng, ranks.index(end(ranks)), rng.choice(words))


_ENDS = {
    "leftmost": (0, 1),
    "rightmost": (0, -1),
    "topmost": (1, 1),
    "highest": (1, 1),
    "lowest": (1, -1),
}


def _leftmost(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    if len(scene.things) < 2 or len(_solid(scene)) < len(scene.things):
        return None
    most = rng.choice(tuple(_ENDS))
    axis, sign = _ENDS[most]
    places = [sign * (thing.x, thing.y)[axis] for thing in scene.things]
    first, second = sorted(places)[:2]
    if second - first < 0.08:
        return None
    return _superlative("leftmost", scene, rng, places.index(first), most)


def _background(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact:
    return Fact("background", translate(scene.background.name, lang))


def _read(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    texts = [thing for thing in scene.things if thing.text]
    if len(texts) != 1:
        return None
    ref = rng.choice(("the text", "the text", "the writing", f"the {texts[0].colour} text"))
    index = scene.things.index(texts[0])
    return Fact("read", texts[0].text, {"ref": ref}, None, index, frozenset(("shape",)))


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


def _mention(thing: Thing) -> str:
    place = _PLACES.get(region(thing), "at the " + region(thing))
    reading = f' "{thing.text}"' if thing.text else ""
    return f"{a(noun_phrase(_features_told(thing), None))}{reading} {place}"


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
    "relation": _relation,
    "nearest": _nearest,
    "between": _between,
    "largest": _largest,
    "leftmost": _leftmost,
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
    "size": 5,
    "pattern": 5,
    "count": 9,
    "count_of": 8,
    "exists": 12,
    "where": 9,
    "relation": 14,
    "nearest": 5,
    "between": 5,
    "largest": 8,
    "leftmost": 8,
    "background": 4,
    "read": 45,
    "box": 10,
    "point": 4,
    "describe": 9,
}
