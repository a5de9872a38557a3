"""The shipped model in real chats: 200 fresh questions, held to what its card says."""

from __future__ import annotations

import json
from dataclasses import replace
from math import comb, sqrt
from random import Random

import pytest
from PIL import Image

from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.train import questions, scenes
from vlm.train.card import SEEN, _level
from vlm.train.evaluate import Score
from vlm.train.stream import CLIP_SHAPES, Stream, _size
from vlm.train.written import written_scores

ASKED = 200
SEED = 20_261_126  # far from every seed that the card was measured with


@pytest.fixture(scope="module")
def card(tiny):
    return json.loads((tiny.folder / "scores.json").read_text())


@pytest.fixture(scope="module")
def offered(card):
    """Single questions about pictures and clips that the page offers; what is written is judged below."""
    return [(row["medium"], row["kind"]) for row in card["offered"] if row["medium"] in ("Pictures", "Clips")]


@pytest.fixture(scope="module")
def stream(packer, tiny):
    return Stream(packer, tiny.config.pixels, batch=1, segments=1, seed=SEED)


def picture(stream, rng, kind, folder):
    """A scene of which this kind can be asked, as a file, with the question."""
    while True:
        scene = stream.scene(rng, _level())
        question = questions.ask(scene, rng, [kind])
        if question and not (kind == "count" and question.answer in ("five", "six")):
            path = folder / f"{rng.getrandbits(40)}.png"
            Image.fromarray(scenes.draw(scene)[0]).save(path)
            return path, question


def clip(rng, kind, folder):
    """The same for a clip, as a lossless animation of two frames a second."""
    while True:
        frames, rows, columns = rng.choice(list(CLIP_SHAPES))
        drawn = scenes.random_clip(rng, **_size(rows, columns), frames=(frames, frames), count=(1, 3))
        question = questions.ask_clip(drawn, rng, [kind])
        if question:
            path = folder / f"{rng.getrandbits(40)}.png"
            first, *rest = (Image.fromarray(frame) for frame in scenes.draw_clip(drawn)[0])
            first.save(path, save_all=True, append_images=rest, duration=500, loop=0)
            return path, question


@pytest.fixture(scope="module")
def scores(tiny, stream, offered, tmp_path_factory):
    kinds = [pair for pair in offered if pair[1] != "follow_up"]
    rng, folder = Random(SEED), tmp_path_factory.mktemp("fresh")
    engine = Engine(tiny.model, tiny.tokenizer, "tiny")
    scores = {pair: Score() for pair in kinds}
    for number in range(ASKED):
        medium, kind = kinds[number % len(kinds)]
        path, question = (
            picture(stream, rng, kind, folder) if medium == "Pictures" else clip(rng, kind, folder)
        )
        *_, trace = ChatSession(engine).ask(question.text, [path], Sampling(max_new_tokens=24))
        scores[medium, kind].asked += 1
        scores[medium, kind].right += trace.answer == question.answer
    return scores


def figures(card, medium, kind):
    return card["scores"][f"{medium}, {SEEN}"][kind]


def test_the_page_is_offered_something(offered):
    assert len(offered) >= 8


def test_together_they_are_as_right_as_the_card_says(card, scores):
    """No more than the card's interval and the chance of 200 draws below."""
    told = {pair: figures(card, *pair) for pair in scores}
    least = sum(score.asked * told[pair]["low"] for pair, score in scores.items())
    chance = sum(
        score.asked * told[pair]["right"] * (1 - told[pair]["right"]) for pair, score in scores.items()
    )
    assert sum(score.right for score in scores.values()) >= least - 1.96 * sqrt(chance)
    assert sum(score.asked for score in scores.values()) == ASKED


def test_no_kind_falls_out_of_its_interval(card, scores):
    """So few right answers would be no chance, were the model as right as the card's interval begins.

    The chance is the binomial distribution's own: of fourteen answers an approximate interval says little.
    One run in twenty may lose a kind by chance.
    """
    fallen = {
        pair: (score.right, score.asked)
        for pair, score in scores.items()
        if at_most(score.right, score.asked, figures(card, *pair)["low"]) < 0.05 / len(scores)
    }
    assert not fallen


def at_most(right: int, asked: int, share: float) -> float:
    """Chance of so many right answers or fewer."""
    return sum(comb(asked, k) * share**k * (1 - share) ** (asked - k) for k in range(right + 1))


def test_a_fallen_kind_would_be_noticed():
    assert at_most(9, 14, 0.97) < 0.05 / 30 < at_most(12, 14, 0.97)


def test_descriptions_are_as_true_as_the_card_says(card, tiny, stream):
    level = replace(_level(), reading=0.0)
    found = written_scores(tiny, stream, level, 20, kinds=("describe",))["describe"]
    assert found.interval()[1] >= figures(card, "Written answers", "describe")["low"]
