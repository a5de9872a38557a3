"""Facts to ask about two pictures at once: (first, second, rng) -> Fact or None."""

from __future__ import annotations

from random import Random

from vlm.train.questions.picture_facts import FACTS as PICTURE_FACTS
from vlm.train.questions.wording import Fact, a, features_of, matching, noun_phrase
from vlm.train.scenes.world import Scene


def _more(first: Scene, second: Scene, rng: Random) -> Fact:
    counts = len(first.things), len(second.things)
    answer = "same" if counts[0] == counts[1] else "first" if counts[0] > counts[1] else "second"
    return Fact("compare_count", answer)


def _same(feature: str):
    """The fact function "do both pictures show the same colour / shape", asked of one thing in each."""

    def fact(first: Scene, second: Scene, rng: Random) -> Fact | None:
        if len(first.things) != 1 or len(second.things) != 1:
            return None
        same = getattr(first.things[0], feature) == getattr(second.things[0], feature)
        # By chance two things rarely agree, and "no" would be a safe guess.
        if not same and rng.random() < 0.6:
            return None
        return Fact("compare_" + feature, "yes" if same else "no")

    return fact


def _which(first: Scene, second: Scene, rng: Random) -> Fact | None:
    if not first.things + second.things:
        return None
    names = rng.choice((("colour",), ("shape",), ("colour", "shape")))
    scene = rng.choice([scene for scene in (first, second) if scene.things])
    features = features_of(rng.choice(scene.things), names)
    found = [bool(matching(scene.things, features)) for scene in (first, second)]
    answer = {(True, True): "both", (True, False): "first", (False, True): "second"}[tuple(found)]
    return Fact("compare_exists", answer, {"a": a(noun_phrase(features, rng))})


def _in_one(kind: str):
    """The fact function that asks a picture question about the first or the second picture."""

    def fact(first: Scene, second: Scene, rng: Random) -> Fact | None:
        nth, scene = rng.choice((("first", first), ("second", second)))
        found = PICTURE_FACTS[kind](scene, rng)
        return found and Fact(f"compare_{kind}_in", found.answer, found.slots | {"nth": nth})

    return fact


FACTS = {
    "compare_count": _more,
    "compare_colour": _same("colour"),
    "compare_shape": _same("shape"),
    "compare_exists": _which,
    "compare_colour_in": _in_one("colour"),
    "compare_count_in": _in_one("count"),
}
