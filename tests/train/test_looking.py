"""Where the embedded model looks: its heads peak inside what was asked about, far above chance."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np

from vlm.families.checkpoint import TINY, open_config
from vlm.train.looking import (
    END,
    FILE,
    START,
    Case,
    Figures,
    choose_heads,
    draw_cases,
    judge,
    maps_of,
    write_looking,
)
from vlm.train.sources import HELD_OUT


def test_peaks_lie_inside_the_asked_things_box(tiny):
    """On held-out scenes; 4 deviations above chance would be luck once in 30,000."""
    maps, cases = maps_of(tiny, 40, HELD_OUT)
    figures = judge(maps, cases, tiny.config.looking_heads)
    deviation = sqrt(figures.chance * (1 - figures.chance) / figures.asked)
    assert figures.inside > max(0.5, figures.chance + 4 * deviation), figures
    assert figures.inside > 4 * figures.other


def test_the_card_says_so_and_the_page_uses_the_same_heads():
    stored = json.loads((TINY / FILE).read_text())
    config, _ = open_config("tiny")
    assert config.looking_heads == tuple(map(tuple, stored["heads"])) != ()
    card = (TINY / "README.md").read_text()
    said = card[card.index(START) : card.index(END)]
    assert f"**{stored['inside']:.0%}**" in said and f"{stored['chance']:.0%}" in said
    assert stored["asked"] >= 300


def test_scenes_for_choosing_and_judging_differ(tiny):
    first, again, other = ([case.question for case in draw_cases(tiny, 6, seed)] for seed in (0, 0, HELD_OUT))
    assert first == again != other


def test_the_head_that_points_is_found():
    """One head of twelve points at the thing, another at the other thing, the rest anywhere."""
    rng, cases, maps = np.random.default_rng(0), [], []
    for _ in range(60):
        inside, other = np.zeros(16, bool), np.zeros(16, bool)
        a, b = rng.choice(16, 2, replace=False)
        inside[a], other[b] = True, True
        cases.append(Case(None, "", inside, other))
        found = rng.random((3, 4, 16)).astype(np.float32) / 8
        found[1, 2, a] += 0.5
        found[2, 0, b] += 0.9
        maps.append(found)
    heads = choose_heads(maps[:30], cases[:30])
    assert heads == ((1, 2),)
    figures = judge(maps[30:], cases[30:], heads)
    assert figures.inside == 1.0 and figures.other == 0.0 and abs(figures.chance - 1 / 16) < 1e-9
    assert figures.mass > figures.all_mass and figures.all_inside < 0.5


def test_figures_are_written_once_and_again(tmp_path):
    card = tmp_path / "README.md"
    card.write_text("# A model\n")
    figures = Figures(((1, 2),), 400, 0.5, 0.1, 0.05, 0.3, 0.4, 0.2)
    for inside in (0.5, 0.75):
        write_looking(card, Figures(**{**vars(figures), "inside": inside}))
    text = card.read_text()
    assert text.count(START) == 1 and "**75%**" in text and "50%" not in text
    assert json.loads((tmp_path / FILE).read_text())["heads"] == [[1, 2]]
