"""Turns a fact about a scene into a question in words: referring phrases, wordings and small slips."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import combinations
from random import Random

from vlm.train.questions import phrasings, phrasings_frames, phrasings_unseen, phrasings_zh
from vlm.train.scenes.world import Thing

NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ZH_KINDS = tuple(phrasings_zh.TRAIN)
_ZH_ADJECTIVES = {"medium": "中等大小"}  # on its own "中" would mean "in"
_ROUNDABOUT = 0.2  # share of training questions put into a frame
_TABLES = {
    ("en", "train"): phrasings.TRAIN,
    ("en", "unseen"): phrasings_unseen.UNSEEN,
    ("zh", "train"): phrasings_zh.TRAIN,
    ("zh", "unseen"): phrasings_zh.UNSEEN,
}


@dataclass(frozen=True)
class Question:
    """One question with its answer; `needs_context` marks a follow-up that leans on the turns before."""

    kind: str
    text: str
    answer: str
    lang: str = "en"
    needs_context: bool = False


@dataclass(frozen=True)
class Fact:
    """What is asked, before it is put into words: the answer, and the slots that a wording fills.

    `key` names the list of wordings (the kind, where None), `about` is the index of the thing in
    question and `told` the names of its features that the question or the answer gives away.
    """

    kind: str
    answer: str
    slots: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    about: int | None = None
    told: frozenset[str] = frozenset()


def translate(word: str, lang: str) -> str:
    """A name of the world in the language asked for."""
    return phrasings_zh.WORDS[word] if lang == "zh" else word


def number(count: int, lang: str = "en") -> str:
    """The canonical word for a count: "none", "one", "two", ..."""
    return translate(NUMBERS[count], lang)


def a(phrase: str) -> str:
    """The phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def plural(phrase: str) -> str:
    """The phrase in the plural."""
    return phrase + ("es" if phrase.endswith("s") else "s")


def noun_phrase(features: dict[str, str], rng: Random | None, lang: str = "en") -> str:
    """The features in words, without an article: "large striped red circle", or "red thing".

    Without an rng the canonical words are used; with one, now and then a synonym.
    """
    if lang == "zh":
        words = [features[name] for name in ("size", "pattern", "colour") if name in features]
        parts = [_ZH_ADJECTIVES.get(word) or translate(word, lang) for word in words]
        last = translate(features["shape"], lang) if "shape" in features else rng.choice(phrasings_zh.NOUNS)
        return "".join(part + "的" for part in parts) + last
    words = [features[name] for name in ("size", "pattern", "colour") if name in features]
    if rng and rng.random() < 0.15:
        words = [rng.choice(phrasings.SYNONYMS.get(word, (word,))) for word in words]
    noun = features.get("shape") or rng.choice(phrasings.NOUNS)
    return " ".join([*words, noun])


def features_of(thing: Thing, names) -> dict[str, str]:
    """The named features of a thing ("colour", "shape", "size", "pattern") as a dictionary."""
    return {name: getattr(thing, name) for name in names}


def matching(things, features: dict[str, str]) -> list[int]:
    """The indices of all things that have all the features."""
    wanted = features.items()
    return [i for i, thing in enumerate(things) if all(getattr(thing, k) == v for k, v in wanted)]


def _unique_choices(things, index: int, hide) -> list[tuple[str, ...]]:
    """Every choice of features that picks out the one thing, shortest first."""
    names = ("shape", "colour") if things[index].text else ("shape", "colour", "size", "pattern")
    names = [name for name in names if name not in hide]
    choices = (c for size in range(len(names) + 1) for c in combinations(names, size))
    return [c for c in choices if matching(things, features_of(things[index], c)) == [index]]


def refer(things, index: int, rng: Random, lang: str = "en", hide=()) -> tuple[str, frozenset[str]] | None:
    """A phrase that picks exactly this thing, and the features it names; None where no phrase can.

    It names none of the features in `hide`. Most phrases are as short as can be, others say more.
    """
    choices = _unique_choices(things, index, hide)
    if not choices:
        return None
    shortest = [choice for choice in choices if len(choice) == len(choices[0])]
    usual = [choice for choice in choices if set(choice) <= {"shape", "colour"} and choice]
    roll = rng.random()
    choice = rng.choice(usual if usual and roll < 0.5 else shortest if roll < 0.85 else choices)
    phrase = noun_phrase(features_of(things[index], choice), rng, lang)
    return (phrase if lang == "zh" else "the " + phrase), frozenset(choice)


def name_of(things, index: int) -> str:
    """The canonical name of a thing in an answer: "the red circle", longer only if that tells it apart."""
    thing = things[index]
    for extra in ((), ("size",), ("pattern",), ("size", "pattern")):
        features = features_of(thing, ("colour", "shape", *extra))
        if matching(things, features) == [index] and not (thing.text and extra):
            return "the " + noun_phrase(features, None)
    return "the " + noun_phrase(features_of(thing, ("colour", "shape")), None)


def _american(text: str) -> str:
    for british, american in (("olour", "olor"), ("centre", "center"), ("grey", "gray")):
        text = text.replace(british, american)
    return text


def _slip(text: str, rng: Random) -> str:
    """One typing slip inside a longer word: two letters swapped, or one left out."""
    spots = [match.start() for match in re.finditer(r"(?<=[a-z])[a-z]{2}(?=[a-z]{2})", text)]
    if not spots:
        return text
    spot = rng.choice(spots)
    swapped = text[spot + 1] + text[spot] if rng.random() < 0.6 else text[spot]
    return text[:spot] + swapped + text[spot + 2 :]


def _prefixed(text: str, rng: Random, split: str) -> str:
    prefix = rng.choice(phrasings.PREFIXES if split == "train" else phrasings.UNSEEN_PREFIXES)
    lower = prefix.endswith(", ") or rng.random() < 0.5
    return prefix + (text[0].lower() + text[1:] if lower else text)


def _roughen(text: str, rng: Random, split: str, noise: float) -> str:
    """A lower-case start, a missing question mark and (training only) slips of the fingers."""
    if rng.random() < 0.15 * noise:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.12 * noise:
        text = text.rstrip("?.")
    if split == "train" and rng.random() < 0.03 * noise:
        text = _slip(text, rng)
    return text


def _template(wordings, rng: Random) -> str:
    """One of the wordings; more than half the time one of the plainest, which come first."""
    roll = rng.random()
    return rng.choice(
        wordings[:1] if roll < 0.45 else wordings[: phrasings.PLAIN] if roll < 0.65 else wordings
    )


def _english(
    template: str, slots: dict[str, str], rng: Random, split: str, noise: float, prefix: bool
) -> str:
    noun = rng.choice(("object", "object", "thing", "figure"))
    nouns = rng.choice(("objects", "objects", "things", "shapes", "figures"))
    text = template.format(**{"noun": noun, "nouns": nouns} | slots)
    text = text[0].upper() + text[1:]
    if split == "train" and rng.random() < 0.2 * noise:
        text = text.replace("picture", rng.choice(phrasings_frames.PICTURES))
    if rng.random() < 0.35 * noise:
        text = _american(text)
    if prefix and rng.random() < 0.15 * noise:
        text = _prefixed(text, rng, split)
    return _roughen(text, rng, split, noise)


def _chinese(template: str, slots: dict[str, str], rng: Random) -> str:
    text = template.format(**{"nouns": rng.choice(phrasings_zh.NOUNS)} | slots)
    return text.replace("?", rng.choice(("?", "？", "")))


def word(
    fact: Fact, rng: Random, split: str = "train", lang: str = "en", noise: float = 1.0, follow: bool = False
) -> Question:
    """Put a fact into words. `noise` scales the rates of prefixes, spellings and slips; 0 leaves them out."""
    key = fact.key or fact.kind
    key = "follow_" + key.removeprefix("video_") if follow else key
    template = _template(_TABLES[lang, split][key], rng)
    if (lang, split) == ("en", "train") and rng.random() < _ROUNDABOUT * noise:
        template = phrasings_frames.framed(key, rng) or template
    if lang == "zh":
        text = _chinese(template, fact.slots, rng)
    else:
        text = _english(template, fact.slots, rng, split, noise, prefix=not follow)
    return Question(fact.kind, text, fact.answer, lang, follow)
