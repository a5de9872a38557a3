"""Facts to ask about a clip, one function for each kind: (clip, rng, index) -> Fact or None."""

from __future__ import annotations

from random import Random

from vlm.train.questions.picture_facts import FACTS as PICTURE_FACTS
from vlm.train.questions.wording import Fact, name_of, number, refer
from vlm.train.scenes.drawing import things_at
from vlm.train.scenes.world import Clip


def doing(clip: Clip, kind: str) -> list[int]:
    """The indices of the things that do this: "moves", "appears", "disappears" or "still"."""
    return [motion.thing_index for motion in clip.motions if motion.kind == kind]


def _direction(clip: Clip, rng: Random, index: int | None = None) -> Fact | None:
    movers = doing(clip, "moves")
    if not movers:
        return None
    it = None if index is None else ("it", frozenset())
    index = rng.choice(movers) if index is None else index
    found = refer(clip.scene.things, index, rng) or it
    if found is None:
        return None
    return Fact("video_direction", clip.motions[index].direction, {"ref": found[0]}, None, index, found[1])


def _only(kind: str, motion: str):
    """The fact function "which thing moves / appears / disappears", asked when exactly one does."""

    def fact(clip: Clip, rng: Random, index: int | None = None) -> Fact | None:
        busy = doing(clip, motion)
        if len(busy) != 1:
            return None
        told = frozenset(("colour", "shape"))
        return Fact(kind, name_of(clip.scene.things, busy[0]), {}, None, busy[0], told)

    return fact


def _moves(clip: Clip, rng: Random, index: int | None = None) -> Fact | None:
    groups = [group for group in (doing(clip, "moves"), doing(clip, "still")) if group]
    if not groups:
        return None
    index = rng.choice(rng.choice(groups))
    found = refer(clip.scene.things, index, rng)
    if found is None:
        return None
    answer = "yes" if clip.motions[index].kind == "moves" else "no"
    return Fact("video_moves", answer, {"ref": found[0]}, None, index, found[1])


def _event(clip: Clip, index: int) -> str:
    motion = clip.motions[index]
    deed = {"moves": f"moves {motion.direction}", "still": "stays still"}.get(motion.kind, motion.kind)
    return f"{name_of(clip.scene.things, index)} {deed}"


def _first(clip: Clip, rng: Random, index: int | None = None) -> Fact | None:
    sudden = sorted((m.frame, m.thing_index) for m in clip.motions if m.kind in ("appears", "disappears"))
    # A mover sets out at once, so it would always be first; ask only about sudden changes.
    if len(sudden) < 2 or sudden[0][0] == sudden[1][0] or doing(clip, "moves"):
        return None
    return Fact("video_first", _event(clip, sudden[0][1]))


def _count(clip: Clip, rng: Random, index: int | None = None) -> Fact:
    return Fact("video_count", number(len(doing(clip, "moves"))))


def _present(clip: Clip, frame: int) -> Fact:
    key = "video_end" if frame else "video_start"
    return Fact(key, number(len(things_at(clip, frame))))


def _start(clip: Clip, rng: Random, index: int | None = None) -> Fact:
    return _present(clip, 0)


def _end(clip: Clip, rng: Random, index: int | None = None) -> Fact:
    return _present(clip, clip.frames - 1)


def story(clip: Clip) -> str:
    """What every thing does, in one sentence: movers first, then what comes and goes, then the still."""
    order = [i for kind in ("moves", "appears", "disappears", "still") for i in doing(clip, kind)]
    parts = [_event(clip, index) for index in order]
    text = " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:])
    return f"{text[0].upper()}{text[1:]}."


def _describe(clip: Clip, rng: Random, index: int | None = None) -> Fact:
    return Fact("video_describe", story(clip))


FACTS = {
    "video_direction": _direction,
    "video_which": _only("video_which", "moves"),
    "video_moves": _moves,
    "video_first": _first,
    "video_count": _count,
    "video_start": _start,
    "video_end": _end,
    "video_describe": _describe,
    "appears": _only("appears", "appears"),
    "disappears": _only("disappears", "disappears"),
}
WEIGHTS = {
    "video_direction": 8,
    "video_which": 30,
    "video_moves": 8,
    "video_first": 8,
    "video_count": 4,
    "video_start": 4,
    "video_end": 4,
    "video_describe": 8,
    "appears": 44,
    "disappears": 44,
    "colour": 6,
    "shape": 6,
    "size": 2,
    "pattern": 2,
    "count": 4,
    "exists": 4,
    "background": 2,
}


def clip_fact(kind: str, clip: Clip, rng: Random, lang: str = "en", index: int | None = None) -> Fact | None:
    """A fact of this kind about the clip; the picture kinds ask about the things of the whole clip."""
    if kind in FACTS:
        return FACTS[kind](clip, rng, index)
    # How many there "are" is unclear when some come or go.
    if kind == "count" and (doing(clip, "appears") or doing(clip, "disappears")):
        return None
    return PICTURE_FACTS[kind](clip.scene, rng, lang, index)
