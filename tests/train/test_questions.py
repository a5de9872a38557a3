"""Questions: every answer must be true, every question must be clear, and no split may leak into the other.

The checks read the question text and the scene, not the code that made the question.
"""

import json
import re
from collections import Counter
from random import Random

import numpy as np
import pytest

from vlm.train.questions import (
    IMAGE_KINDS,
    KINDS,
    NUMBERS,
    PAIR_KINDS,
    VIDEO_KINDS,
    ask,
    ask_clip,
    ask_pair,
    corpus,
    dialogue,
    phrasings,
    phrasings_frames,
    phrasings_unseen,
    phrasings_zh,
    smalltalk,
)
from vlm.train.scenes import COLOURS, PATTERNS, REGIONS, SHAPES, SIZES, draw, random_clip, random_scene

SAME = {"big": "large", "spotted": "dotted", "stripy": "striped"}
FEATURES = {"colour": set(COLOURS), "shape": {*SHAPES, "text"}, "size": set(SIZES), "pattern": set(PATTERNS)}
NOUN = "|".join([*SHAPES, "text", "object", "thing", "shape", "figure"])
PHRASE = re.compile(rf"\b(?:the|an?) ((?:[a-z]+ )*?)({NOUN})\b")


def features(phrase):
    """The features a phrase names: {"colour": "red", "shape": "circle"} for "the red circle"."""
    words = [SAME.get(word, word) for word in re.findall(r"[a-z]+", phrase)]
    words = ["cross" if word == "crosses" else word[:-1] if word[:-1] in SHAPES else word for word in words]
    return {name: word for word in words for name, known in FEATURES.items() if word in known}


def fitting(things, wanted):
    return [t for t in things if all(getattr(t, name) == value for name, value in wanted.items())]


def phrases(text):
    return [features(match[0]) for match in PHRASE.finditer(text.lower())]


def the_one(text, things):
    """The one thing that the question names; fails where it names none or several."""
    found = [fitting(things, phrase) for phrase in phrases(text)]
    assert len(found) == 1 and len(found[0]) == 1, text
    return found[0][0]


def asked(kind, number=250, seed=0, text=0.0, count=(1, 4), **options):
    """Pairs of (scene, clean question) of one kind."""
    rng, made = Random(f"{seed}{kind}"), []
    while len(made) < number:
        scene = random_scene(rng, count=count, text=text)
        question = ask(scene, rng, [kind], noise=0, **options)
        if question:
            made.append((scene, question))
    return made


def asked_clips(kind, number=150):
    rng, made = Random(kind), []
    while len(made) < number:
        clip = random_clip(rng)
        question = ask_clip(clip, rng, [kind], noise=0)
        if question:
            made.append((clip, question))
    return made


@pytest.mark.parametrize("split", ["train", "unseen"])
@pytest.mark.parametrize("kind", ["colour", "shape", "size", "pattern"])
def test_features_are_true_and_not_given_away(kind, split):
    for scene, question in asked(kind, split=split):
        text = question.text.lower().replace("how large", "how big")
        for said in (
            "small, medium or large",
            "large, medium or small",
            "plain, striped, dotted or outlined",
            "striped, dotted, outlined or plain",
            "a circle, a square, a star or what",
            "a circle, a square or something else",
            "sort of shape",
            "kind of shape",
            "what shape",
            "the shape of",
        ):
            text = text.replace(said, "")
        thing = the_one(text, scene.things)
        assert question.answer == getattr(thing, kind)
        assert not re.search(rf"\b{question.answer}\b", text)


def test_counts_are_true():
    for scene, question in asked("count", count=(0, 6)):
        assert question.answer == NUMBERS[len(scene.things)]


def test_counts_of_are_true_and_not_nearly_always_the_same():
    answers = Counter()
    for scene, question in asked("count_of", 600, count=(1, 6)):
        wanted = features(question.text.lower())
        assert wanted and question.answer == NUMBERS[len(fitting(scene.things, wanted))]
        answers[question.answer] += 1
    assert max(answers.values()) < 0.42 * 600 and answers["two"] > 60 and answers["none"] > 90


def test_exists_is_true_and_balanced():
    answers = Counter()
    for scene, question in asked("exists", 1500):
        (wanted,) = phrases(question.text)
        answers[question.answer] += 1
        assert wanted and question.answer == ("yes" if fitting(scene.things, wanted) else "no")
    assert abs(answers["yes"] / 1500 - 0.5) < 0.05


def test_exists_has_hard_negatives():
    hard = 0
    for scene, question in asked("exists", 600, count=(2, 4)):
        parts = [dict([part]) for part in phrases(question.text)[0].items()]
        near = len(parts) == 2 and all(fitting(scene.things, part) for part in parts)
        hard += near and question.answer == "no"
    assert hard > 40


def test_where_is_true():
    for scene, question in asked("where"):
        thing = the_one(question.text, scene.things)
        assert question.answer == REGIONS[int(thing.y * 3) * 3 + int(thing.x * 3)]
        assert min(abs(p - border) for p in (thing.x, thing.y) for border in (1 / 3, 2 / 3)) > 0.03


def holds(side, first, second):
    return {
        "left": first.x < second.x,
        "right": first.x > second.x,
        "above": first.y < second.y,
        "below": first.y > second.y,
    }[side]


def test_relations_are_true():
    answers = Counter()
    for scene, question in asked("relation", 500):
        text = question.text.lower()
        named = [fitting(scene.things, phrase) for phrase in phrases(text)]
        assert [len(found) for found in named] == [1, 1], text
        first, second = named[0][0], named[1][0]
        if text.startswith(("on which side", "seen from", "looking from")):
            first, second = second, first
        answers[question.answer] += 1
        if question.answer in ("yes", "no"):
            side = re.search(r"\b(left|right|above|below|under)\b", text)[0].replace("under", "below")
            assert (question.answer == "yes") == holds(side, first, second), text
        else:
            assert holds(question.answer, first, second), text
    assert 0.4 < answers["yes"] / (answers["yes"] + answers["no"]) < 0.6


ENDS = {
    "largest": lambda t: -t.radius,
    "biggest": lambda t: -t.radius,
    "smallest": lambda t: t.radius,
    "leftmost": lambda t: t.x,
    "rightmost": lambda t: -t.x,
    "topmost": lambda t: t.y,
    "highest": lambda t: t.y,
    "lowest": lambda t: -t.y,
}


@pytest.mark.parametrize("kind", ["largest", "leftmost"])
def test_superlatives_are_true(kind):
    for scene, question in asked(kind):
        most = re.search("|".join(ENDS), question.text)[0]
        thing = min(scene.things, key=ENDS[most])
        wanted = features(question.answer)
        assert wanted and thing in fitting(scene.things, wanted)


def test_background_and_reading_are_true():
    assert all(q.answer == scene.background.name for scene, q in asked("background", 100))
    several = 0
    for scene, question in asked("read", 200, text=0.4):
        texts = [thing.text for thing in scene.things if thing.text]
        several += len(texts) > 1
        if len(texts) > 1:  # the question must say which
            texts = [the_one(question.text, scene.things).text]
        assert [question.answer] == texts
    assert 30 < several < 170


def test_boxes_and_points_lie_on_the_thing():
    for kind in ("box", "point"):
        for scene, question in asked(kind, 150):
            thing = the_one(question.text, scene.things)
            ys, xs = np.nonzero(draw(scene)[1] == scene.things.index(thing))
            ends = [
                1000 * xs.min() / 160,
                1000 * ys.min() / 160,
                1000 * (xs.max() + 1) / 160,
                1000 * (ys.max() + 1) / 160,
            ]
            answer = json.loads(question.answer)
            if kind == "box":  # an overlap may hide a part, but never shows more
                found = np.array(answer["bbox_2d"])
                assert (np.array([-1, -1, 1, 1]) * (found - ends) > -2 - 5).all()  # told in tens
                assert np.abs(found - ends).max() < 90
            else:
                x, y = answer["point_2d"]
                assert abs(x - 1000 * thing.x) <= 5 and abs(y - 1000 * thing.y) <= 5  # told in tens


def test_descriptions_name_every_thing_and_the_background():
    for scene, question in asked("describe", count=(0, 4), text=0.1):
        assert question.answer.endswith(f" {scene.background.name} background.")
        named = phrases(question.answer.lower())
        assert len(named) == len(scene.things)
        for thing in scene.things:
            told = [p for p in named if thing in fitting(scene.things, p)]
            assert told and (not thing.text or f'"{thing.text}"' in question.answer)


def doing(clip, kind):
    return [clip.scene.things[m.thing_index] for m in clip.motions if m.kind == kind]


def test_video_directions_are_true():
    answers = Counter()
    for clip, question in asked_clips("video_direction"):
        index = clip.scene.things.index(the_one(question.text, clip.scene.things))
        assert question.answer == clip.motions[index].direction
        answers[question.answer] += 1
    assert set(answers) == {"left", "right", "up", "down"} and min(answers.values()) > 20


@pytest.mark.parametrize(("kind", "deed"), [("video_which", "moves"), ("appears",) * 2, ("disappears",) * 2])
def test_which_thing_does_it_is_true(kind, deed):
    for clip, question in asked_clips(kind):
        (thing,) = doing(clip, deed)
        assert thing in fitting(clip.scene.things, features(question.answer))


def test_what_happens_in_a_clip_is_true():
    for clip, question in asked_clips("video_moves"):
        thing = the_one(question.text, clip.scene.things)
        assert thing in doing(clip, "moves" if question.answer == "yes" else "still")
    for clip, question in asked_clips("video_count"):
        assert question.answer == NUMBERS[len(doing(clip, "moves"))]
    for clip, question in asked_clips("video_first", 40):
        first = min((m for m in clip.motions if m.frame), key=lambda m: m.frame)
        assert question.answer.endswith(" " + first.kind)
        assert clip.scene.things[first.thing_index] in fitting(clip.scene.things, features(question.answer))
    for clip, question in asked_clips("video_describe", 60):
        for kind in ("moves", "appears", "disappears"):
            assert len(re.findall(rf"\b{kind}\b", question.answer)) == len(doing(clip, kind))


def test_pairs_are_true():
    rng, seen = Random(1), Counter()
    for _ in range(1500):
        first, second = (random_scene(rng, count=(1, 3)) for _ in range(2))
        question = ask_pair(first, second, rng, noise=0)
        seen[question.kind] += 1
        check_pair(question, first, second)
    assert set(seen) == set(PAIR_KINDS)


def check_pair(question, first, second):
    a, b = first.things, second.things
    if question.kind == "compare_count":
        assert question.answer == ("same" if len(a) == len(b) else "first" if len(a) > len(b) else "second")
    elif question.kind in ("compare_colour", "compare_shape"):
        feature = question.kind.split("_")[1]
        assert (question.answer == "yes") == (getattr(a[0], feature) == getattr(b[0], feature))
    elif question.kind == "compare_exists":
        (wanted,) = phrases(question.text)
        has = bool(fitting(a, wanted)), bool(fitting(b, wanted))
        assert has == {"both": (1, 1), "first": (1, 0), "second": (0, 1)}[question.answer]
    else:
        things = a if "first" in question.text else b
        expected = NUMBERS[len(things)] if "count" in question.kind else the_one(question.text, things).colour
        assert question.answer == expected


def test_dialogues_lean_on_their_first_turn():
    rng, lengths = Random(3), Counter()
    for i in range(300):
        scene = random_clip(rng) if i % 3 == 0 else random_scene(rng)
        turns = dialogue(scene, rng)
        lengths[len(turns)] += 1
        assert [turn.needs_context for turn in turns] == [i > 0 for i in range(len(turns))]
        assert len({turn.text for turn in turns}) == len(turns) <= 4
    assert lengths[0] + lengths[1] < 30 and lengths[3] > 30


def test_follow_ups_about_one_thing_are_true():
    rng = Random(5)
    for _ in range(300):
        scene = random_scene(rng, count=(2, 4))
        turns = dialogue(scene, rng, noise=0)
        if turns and turns[0].kind in ("colour", "shape", "size", "pattern"):
            fits = [
                t
                for t in scene.things
                if all(getattr(t, q.kind) == q.answer for q in turns if q.kind in FEATURES)
            ]
            assert fits, turns


def test_smalltalk_says_what_the_model_is():
    rng = Random(0)
    said = [smalltalk(rng, zh=0.2) for _ in range(500)]
    assert any("simple shapes" in q.answer and "tiny model" in q.answer for q in said)
    assert any("dog" in q.text and q.answer == "I only know simple shapes." for q in said)
    unseen = {smalltalk(rng, "unseen").text.lower().rstrip("!?.") for _ in range(500)}
    assert not unseen & {q.text.lower().rstrip("!?.") for q in said}


def plain(template):
    return re.sub(r"\W+", " ", re.sub(r"\{\w+\}", "X", template)).strip().lower()


@pytest.mark.parametrize(
    ("train", "unseen"),
    [
        (phrasings.TRAIN, phrasings_unseen.UNSEEN),
        (phrasings_zh.TRAIN, phrasings_zh.UNSEEN),
    ],
)
def test_unseen_wordings_are_never_used_in_training(train, unseen):
    assert set(train) == set(unseen)
    known = {plain(wording) for wordings in train.values() for wording in wordings}
    assert not known & {plain(wording) for wordings in unseen.values() for wording in wordings}
    assert not set(phrasings.PREFIXES) & set(phrasings.UNSEEN_PREFIXES)


@pytest.mark.parametrize("key", phrasings.TRAIN)
def test_every_type_has_many_wordings(key):
    assert len(set(phrasings.TRAIN[key])) >= 15
    assert len(set(phrasings_unseen.UNSEEN[key])) >= (3 if key.startswith("follow_") else 5)


def test_unseen_wordings_are_in_no_frame():
    """Neither by a frame's words nor by coming out of one."""
    made = {
        plain(frame.format(clause))
        for frame in phrasings_frames.FRAMES
        for clauses in phrasings_frames.CLAUSES.values()
        for clause in clauses
    }
    unseen = [wording for wordings in phrasings_unseen.UNSEEN.values() for wording in wordings]
    assert not made & {plain(wording) for wording in unseen}
    assert set(phrasings_frames.CLAUSES) <= set(phrasings.TRAIN)


@pytest.mark.parametrize(
    "text",
    [
        "What colour is the circle?",
        "What shape is the red object?",
        "How many objects are there?",
        "How many circles are there?",
        "Is there a star?",
        "Is there a red circle?",
        "Where is the circle?",
        "Describe the picture.",
    ],
)
def test_very_plain_questions_are_frequent(text):
    rng = Random(1)
    texts = Counter(ask(random_scene(rng), rng).text for _ in range(20_000))
    assert texts[text] >= 3, texts[text]


def test_both_spellings_and_small_slips_come_up():
    rng = Random(2)
    scenes = [random_scene(rng, count=(1, 1)) for _ in range(800)]
    texts = [ask(scene, rng, ["colour"]).text for scene in scenes]
    assert sum("colour" in t.lower() for t in texts) > 200 and sum("color" in t.lower() for t in texts) > 80
    assert sum(t[0].islower() for t in texts) > 60 and sum(t[-1] not in ".?" for t in texts) > 40


def test_chinese_questions_have_chinese_answers():
    rng, kinds = Random(4), set()
    for _ in range(800):
        question = ask(random_scene(rng), rng, zh=1.0)
        kinds.add(question.kind)
        assert question.lang == "zh" and not re.search("[a-zA-Z{}]", question.text + question.answer)
    assert kinds == set(phrasings_zh.TRAIN)


def test_chinese_answers_are_true():
    for scene, question in asked("colour", 100, zh=1.0, count=(1, 1)):
        assert question.answer == phrasings_zh.WORDS[scene.things[0].colour]
    for scene, question in asked("count", 100, zh=1.0):
        assert question.answer == "零一二三四五六"[len(scene.things)]


def test_every_kind_can_be_asked_and_is_listed():
    rng, kinds = Random(6), {"smalltalk", "beyond"}
    for _ in range(1500):
        scene, clip = random_scene(rng, text=0.1, count=(1, 5)), random_clip(rng)
        asked_now = (ask(scene, rng), ask_clip(clip, rng), ask_pair(scene, random_scene(rng), rng))
        kinds |= {question.kind for question in asked_now if question}
    assert kinds == set(KINDS) and set(IMAGE_KINDS) | set(VIDEO_KINDS) <= set(KINDS)


def test_questions_are_determined_by_the_seed():
    assert list(corpus(5, 400)) == list(corpus(5, 400)) != list(corpus(6, 400))
    assert len(list(corpus(1, 123))) == 123
