"""Where the embedded model looks: which of its heads point at what an answer is about, and how well they do.

The heads are chosen on training scenes and judged on held-out ones. A peak is inside where the cell with the
most attention, over the tokens of the answer that the model writes itself, has its centre in the asked
thing's box or holds the box's centre; chance is the share of the cells of which that is true.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from tqdm import tqdm

from vlm.families.base import Checkpoint
from vlm.inputs.sequence import append_answer, build_sequence, user_message
from vlm.lens.attention import Head, vision_tokens
from vlm.lens.replay import replay
from vlm.lens.subject import Subject
from vlm.records import Patches, VisionOut
from vlm.train import scenes
from vlm.train.pack import Packer
from vlm.train.questions.picture_facts import FACTS
from vlm.train.questions.wording import word
from vlm.train.sources import HELD_OUT
from vlm.train.stream import Stream, difficulty

START, END = "<!-- looking: written by `python -m vlm evaluate --card` -->", "<!-- end of looking -->"
FILE = "lens.json"  # beside the weights; `vlm.families.checkpoint` reads the heads from it
KINDS = ("colour", "shape", "size", "where")  # questions about one thing
MOST_HEADS = 6
MOST_TOKENS = 8  # of an answer; those of these kinds are shorter


@dataclass(frozen=True)
class Case:
    """One question about one thing of a scene: what the model sees, and the boxes in cells (V,) bool."""

    patches: Patches
    question: str
    inside: np.ndarray  # of the asked thing
    other: np.ndarray  # of the other things, where they are not the asked one's too


@dataclass(frozen=True)
class Figures:
    """Shares of the held-out questions, 0 … 1. ``heads`` are (layer, head), counted from 0."""

    heads: tuple[Head, ...]
    asked: int
    inside: float  # peak inside the asked thing's box
    other: float  # peak inside another thing's box
    chance: float  # of a random cell
    mass: float  # of the heads' attention on the picture, what lies in the asked thing's box
    all_inside: float  # the same two for the mean over all heads
    all_mass: float


def measure(checkpoint: Checkpoint, chosen_on: int, judged_on: int) -> Figures:
    """Choose the heads on so many training scenes and judge them on so many held-out ones."""
    heads = choose_heads(*maps_of(checkpoint, chosen_on, seed=0))
    maps, cases = maps_of(checkpoint, judged_on, seed=HELD_OUT)
    return judge(maps, cases, heads)


def judge(maps: list[np.ndarray], cases: list[Case], heads: tuple[Head, ...]) -> Figures:
    """``heads`` on these scenes, beside all heads and a random cell."""
    chosen = [_mean(found, heads) for found in maps]
    everything = [found.mean((0, 1)) for found in maps]
    return Figures(
        heads,
        len(cases),
        inside=_peaks(chosen, [case.inside for case in cases]),
        other=_peaks(chosen, [case.other for case in cases]),
        chance=float(np.mean([case.inside.mean() for case in cases])),
        mass=_mass(chosen, cases),
        all_inside=_peaks(everything, [case.inside for case in cases]),
        all_mass=_mass(everything, cases),
    )


def choose_heads(maps: list[np.ndarray], cases: list[Case]) -> tuple[Head, ...]:
    """Add the head that helps most, one by one, for as long as it helps.

    What counts is how often the mean map's peak is inside, and half as much how much of the map is: peaks
    alone would take in heads that look everywhere, in which nobody sees anything.
    """
    layers, count = maps[0].shape[:2]
    left = [(layer, head) for layer in range(layers) for head in range(count)]
    chosen: tuple[Head, ...] = ()
    best = 0.0

    def score(heads: tuple[Head, ...]) -> float:
        means = [_mean(found, heads) for found in maps]
        return _peaks(means, [case.inside for case in cases]) + _mass(means, cases) / 2

    while len(chosen) < MOST_HEADS:
        reached, head = max((score((*chosen, head)), head) for head in left)
        if reached <= best:
            break
        best, chosen = reached, (*chosen, head)
        left.remove(head)
    return tuple(sorted(chosen))


def maps_of(checkpoint: Checkpoint, count: int, seed: int) -> tuple[list[np.ndarray], list[Case]]:
    """Attention (L, H, V) on the picture while each case's answer is written, and the cases."""
    title = "Where it looks, held-out scenes" if seed >= HELD_OUT else "Where it looks, choosing heads"
    maps, cases = [], []
    for case in tqdm(draw_cases(checkpoint, count, seed), title, count, leave=False, disable=None):
        maps.append(look_at(checkpoint, case))
        cases.append(case)
    return maps, cases


def draw_cases(checkpoint: Checkpoint, count: int, seed: int) -> Iterator[Case]:
    """Questions about one of two to four things; with a single one any look at it would be right."""
    stream = Stream(
        Packer(checkpoint.tokenizer, checkpoint.config),
        checkpoint.config.pixels,
        batch=1,
        segments=1,
        seed=seed,
    )
    level = difficulty(1.0)
    rng, made = Random(f"{seed}/looking"), 0
    while made < count:
        scene = scenes.random_scene(rng, width=192, height=192, **{**level.scene, "count": (2, 4)})
        fact = FACTS[rng.choice(KINDS)](scene, rng)
        if fact is None or fact.about is None:
            continue
        patches = stream.drawn(scene).patches
        boxes = [_cells(scenes.box(thing, scene), patches) for thing in scene.things]
        inside = boxes[fact.about]
        other = np.any([box for i, box in enumerate(boxes) if i != fact.about], axis=0) & ~inside
        made += 1
        yield Case(patches, word(fact, rng, "train", "en", 0.0).text, inside, other)


@torch.inference_mode()
def look_at(checkpoint: Checkpoint, case: Case) -> np.ndarray:
    """(L, H, V): the mean over the rows that write the answer."""
    model, tokens = checkpoint.model, checkpoint.config.tokens
    messages = [user_message(case.question, [case.patches])]
    sequence = build_sequence(messages, [case.patches], checkpoint.tokenizer, tokens)
    seen: list[VisionOut] = model.encode([case.patches])
    cache, ids = model.new_cache(len(sequence) + MOST_TOKENS), []
    logits = model.decoder.logits(model(sequence, seen, cache)[-1:])[0]
    while (token := int(logits.argmax())) not in tokens.eos and len(ids) < MOST_TOKENS:
        ids.append(token)
        logits = model.step(token, len(sequence) + len(ids) - 1 + sequence.rope_delta, cache)
    subject = Subject(model, append_answer(sequence, ids), cache, seen.__getitem__)
    rows = range(len(sequence) - 1, len(sequence) - 1 + max(1, len(ids)))
    cells, found = vision_tokens(sequence), []
    replay(subject, rows, on_attention=lambda _, weights: found.append(weights[..., cells].mean(1)))
    return torch.stack(found).numpy()


def _cells(box: tuple[int, int, int, int], patches: Patches) -> np.ndarray:
    """(V,) bool: cells whose centre lies in the box, and the one that holds the box's centre."""
    _, rows, columns = patches.cells_thw
    x0, y0, x1, y1 = (end / 1000 for end in box)
    xs, ys = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    inside = ((ys >= y0) & (ys <= y1))[:, None] & ((xs >= x0) & (xs <= x1))[None]
    row, column = int((y0 + y1) / 2 * rows), int((x0 + x1) / 2 * columns)
    inside[min(row, rows - 1), min(column, columns - 1)] = True
    return inside.flatten()


def _mean(maps: np.ndarray, heads: tuple[Head, ...]) -> np.ndarray:
    return sum(maps[layer, head] for layer, head in heads)


def _peaks(maps: list[np.ndarray], places: list[np.ndarray]) -> float:
    """How often the highest cell is in its place."""
    return float(np.mean([place[found.argmax()] for found, place in zip(maps, places, strict=True)]))


def _mass(maps: list[np.ndarray], cases: list[Case]) -> float:
    """How much of a map is inside, on average."""
    shares = [found[case.inside].sum() / found.sum() for found, case in zip(maps, cases, strict=True)]
    return float(np.mean(shares))


def write_looking(card: Path, figures: Figures) -> None:
    """The heads beside the weights, and the figures between their two markers of the model card."""
    (card.parent / FILE).write_text(json.dumps(asdict(figures)) + "\n")
    text = card.read_text()
    if START not in text:
        text = text.rstrip() + f"\n\n## Where it looks\n{START}\n{END}\n"
    said = f"{START}\n\n{in_words(figures)}\n\n{END}"
    card.write_text(re.sub(re.escape(START) + ".*" + re.escape(END), lambda _: said, text, flags=re.DOTALL))


def in_words(figures: Figures) -> str:
    """A paragraph of the card."""
    f, heads = figures, ", ".join(f"{layer + 1}.{head + 1}" for layer, head in figures.heads)
    text = f"""
        On {f.asked} held-out pictures of two to four things, asked about one of them, the attention of the
        heads {heads} (layer.head, chosen on training pictures) peaks inside the asked thing's box in
        **{f.inside:.0%}** while the answer is written, and inside another thing's in {f.other:.0%}. A random
        cell would be inside in {f.chance:.0%}. Of these heads' attention on the picture {f.mass:.0%} lies in
        the box. With the mean over all heads the peak is inside in {f.all_inside:.0%}, and {f.all_mass:.0%}
        of the attention. A cell counts as inside when its centre is, or when it holds the box's centre."""
    return textwrap.fill(" ".join(text.split()), 114)
