"""Facts that compare things of one picture: sides, nearest, between, largest, leftmost."""

from __future__ import annotations

from itertools import combinations
from math import hypot
from random import Random

from vlm.train.questions.wording import Fact, name_of, refer
from vlm.train.scenes.world import SIZES, Scene, Thing


def solid(scene: Scene) -> list[Thing]:
    """The things that are not text."""
    return [thing for thing in scene.things if not thing.text]


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


def _relation_where(side: tuple[int, int], slots: dict[str, str], rng: Random) -> Fact:
    return Fact("relation", _SIDES[side], slots, "relation_where")


def relation(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    if len(scene.things) < 2:
        return None
    first, second = rng.sample(range(len(scene.things)), 2)
    side = _side(scene.things[first], scene.things[second])
    found = [refer(scene.things, i, rng) for i in (first, second)]
    if side is None or None in found:
        return None
    slots = {"ref": found[0][0], "other": found[1][0]}
    # Of four answers one is hard to guess; of two, half of the guesses are right.
    make = rng.choices((_relation_yes, _relation_side, _relation_where), (3, 2, 5))[0]
    return make(side, slots, rng)


def nearest(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
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


def between(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    """Which thing is between two others: the only one near the line between them."""
    order = list(range(len(scene.things)))
    rng.shuffle(order)
    for one, two in combinations(order, 2):
        shares = {i: _detour(scene, i, one, two) for i in order if i not in (one, two)}
        near = [i for i, detour in shares.items() if detour < 1.06]
        if len(near) == 1 and all(detour > 1.25 for i, detour in shares.items() if i != near[0]):
            found = [refer(scene.things, i, rng) for i in (one, two)]
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


def largest(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    ranks = [tuple(SIZES).index(thing.size) for thing in scene.things]
    words, end = rng.choice(((("largest", "biggest"), max), (("smallest",), min)))
    if len(ranks) < 2 or len(solid(scene)) < len(ranks) or ranks.count(end(ranks)) != 1:
        return None
    return _superlative("largest", scene, rng, ranks.index(end(ranks)), rng.choice(words))


_ENDS = {
    "leftmost": (0, 1),
    "rightmost": (0, -1),
    "topmost": (1, 1),
    "highest": (1, 1),
    "lowest": (1, -1),
}


def leftmost(scene: Scene, rng: Random, lang: str = "en", index=None) -> Fact | None:
    if len(scene.things) < 2 or len(solid(scene)) < len(scene.things):
        return None
    most = rng.choice(tuple(_ENDS))
    axis, sign = _ENDS[most]
    places = [sign * (thing.x, thing.y)[axis] for thing in scene.things]
    first, second = sorted(places)[:2]
    if second - first < 0.08:
        return None
    return _superlative("leftmost", scene, rng, places.index(first), most)
