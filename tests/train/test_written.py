"""Judging boxes, points and descriptions that a model wrote."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from vlm.train import scenes
from vlm.train.card import END, PROMISES, START, as_json, judged, promises_table, scores_table, write_card
from vlm.train.evaluate import Score
from vlm.train.questions.picture_facts import caption
from vlm.train.stream import difficulty
from vlm.train.written import KINDS, overlap, true_facts, write, written_scores


def scene(count, seed=3, **options):
    return scenes.random_scene(Random(seed), width=192, height=192, count=(count, count), **options)


def test_overlap_of_boxes():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1.0
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (20, 20, 30, 30)) == 0.0
    assert overlap((0, 0, 10, 10), (8, 8, 2, 2)) == 0.0  # upside down


@pytest.mark.parametrize("count", range(7))
def test_every_fact_of_a_true_description_is_found_true(count):
    for seed in range(12):
        shown = scene(count, seed, text=0.2)
        true, stated = true_facts(caption(shown), shown)
        plain = sum(t.pattern == "plain" for t in shown.things if not t.text)
        texts = sum(bool(t.text) for t in shown.things)
        # size, colour, shape, pattern and place; a text has its characters instead of size and pattern.
        assert true == stated == max(1, 5 * count - plain - texts) + bool(count) + (count == 0)


def test_each_wrong_word_costs_one_fact():
    shown = scene(1, patterns=("striped",))
    text = caption(shown)
    (thing,) = shown.things
    true, stated = true_facts(text, shown)
    other = next(name for name in scenes.COLOURS if name != thing.colour)
    assert true_facts(text.replace(thing.colour, other, 1), shown) == (true - 1, stated)
    assert (
        true_facts(text.replace(f"{shown.background.name} background", "x background"), shown)[0] == true - 1
    )
    twice = text.replace(", on", " and " + text[0].lower() + text[1 : text.index(", on")] + ", on")
    assert true_facts(twice, shown) == (true, stated + 5)  # the second mention has nothing to be about


def test_nonsense_states_nothing_true():
    assert true_facts("I only know simple shapes.", scene(2))[0] == 0
    assert true_facts("", scene(2)) == (0, 0)


def test_what_is_written_is_what_a_chat_says(tiny, stream, tmp_path):
    from PIL import Image

    from vlm.chat.sampling import Sampling
    from vlm.chat.session import ChatSession, Engine

    shown = scene(2)
    Image.fromarray(scenes.draw(shown)[0]).save(tmp_path / "a.png")
    session = ChatSession(Engine(tiny.model, tiny.tokenizer, "tiny"))
    *_, trace = session.ask("Describe the picture.", [tmp_path / "a.png"], Sampling(max_new_tokens=160))
    assert write(tiny, stream.drawn(shown).patches, "Describe the picture.") == trace.answer


def test_written_answers_are_scored_beside_wrong_pictures(tiny, stream):
    level = replace(difficulty(1.0), scene={"count": (1, 2)}, zh=0.0, reading=0.0)
    scores = written_scores(tiny, stream, level, 6)
    assert {kind: score.asked for kind, score in scores.items()} == dict.fromkeys(KINDS, 6)
    assert scores["describe"].accuracy > scores["describe"].baseline + 0.2


def sections(accuracy, baseline, unseen):
    def score(right):
        return Score(100, 100 * right, 100 * baseline)

    found = {}
    for promise in PROMISES:
        for kind in promise.kinds:
            found.setdefault(f"{promise.medium}, wordings seen in training", {})[kind] = score(accuracy)
            found.setdefault(f"{promise.medium}, wordings never trained on", {})[kind] = score(unseen)
    return found


def test_only_what_holds_is_offered():
    rows = judged(sections(0.95, 0.2, 0.9))
    assert all(row["offered"] and not row["fails"] for row in rows) and len(rows) == 21
    rows = judged(sections(0.95, 0.7, 0.8))
    assert all(row["fails"] == ["wording", "blind"] and not row["offered"] for row in rows)
    low = {row["kind"]: row["fails"] for row in judged(sections(0.7, 0.1, 0.7))}
    assert low["colour"] == ["floor"] and low["read"] == [] and low["video_which"] == []


def test_the_card_is_rewritten_between_its_markers(tmp_path):
    card = tmp_path / "README.md"
    card.write_text(f"above\n{START}\nold figures\n{END}\nbelow\n")
    scores = sections(0.9, 0.1, 0.9)
    write_card(card, scores)
    text = card.read_text()
    assert text.startswith("above") and text.endswith("below\n") and "old figures" not in text
    assert scores_table(scores) in text and promises_table(judged(scores)) in text
    assert "| colour | 100 | 0.90 | 0.83–0.94 | 0.10 |" in text
    import json

    assert json.loads((tmp_path / "scores.json").read_text()) == as_json(scores)
