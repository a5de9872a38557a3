"""The figures of the model card, written by the evaluation and by nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from vlm.families.base import Checkpoint
from vlm.records import InputError
from vlm.train.evaluate import Score, evaluate
from vlm.train.pack import Packer
from vlm.train.sources import HELD_OUT
from vlm.train.stream import Difficulty, Stream, difficulty
from vlm.train.written import KINDS, written_scores

START, END = "<!-- figures: written by `python -m vlm evaluate --card` -->", "<!-- end of figures -->"
BATCH, SEGMENTS = 16, 8
WRITTEN = tuple(kind for kind in KINDS if kind != "describe")
SEEN, UNSEEN = "wordings seen in training", "wordings never trained on"
OVER_BLIND, WORDING = 0.30, 0.10  # least gain over a wrong picture; most that an unseen wording may cost


@dataclass(frozen=True)
class Promise:
    """The share of right answers that each of some kinds of one medium must reach."""

    title: str
    medium: str
    kinds: tuple[str, ...]
    floor: float
    goal: float


PROMISES = (
    Promise(
        "plain facts", "Pictures", ("colour", "shape", "count", "exists", "size", "background"), 0.90, 0.97
    ),
    Promise("places", "Pictures", ("where", "relation", "largest", "leftmost"), 0.75, 0.95),
    Promise("reading", "Pictures with text", ("read",), 0.60, 0.90),
    Promise(
        "video",
        "Clips",
        ("video_direction", "video_which", "video_moves", "appears", "disappears"),
        0.70,
        0.95,
    ),
    Promise("box (overlap of a half)", "Written answers", ("box", "follow_up_box"), 0.50, 0.85),
    Promise("description (true facts)", "Written answers", ("describe",), 0.85, 0.97),
    Promise("follow-ups", "Pictures", ("follow_up",), 0.80, 0.95),
    Promise("follow-ups in clips", "Clips", ("follow_up",), 0.80, 0.95),
)
SPEED = (
    "On one core: loads in {load_s:.2f} s, first token {first_token_ms:.0f} ms after a picture is given, "
    "then {tokens_per_s:.0f} tokens a second (medians; `python -m vlm evaluate` measures them)."
)
Scores = dict[str, dict[str, Score]]  # section title → kind → score


def full_scores(checkpoint: Checkpoint, questions: int) -> Scores:
    """Scores on held-out pictures, pairs and clips, for wordings used in training and for unseen ones."""
    stream = Stream(
        Packer(checkpoint.tokenizer, checkpoint.config), checkpoint.config.pixels,
        batch=BATCH, segments=SEGMENTS, seed=HELD_OUT,
    )  # fmt: skip
    scores = {}
    for title, level, count in _sections(questions):
        batches = (stream.make(n, level) for n in tqdm(range(count), title, leave=False, disable=None))
        found = evaluate(checkpoint.model, batches)
        scores[title] = {
            # Boxes and points are hardly ever right to the letter: they are judged below.
            kind: score for kind, score in sorted(found.items())
            if score.asked >= 30 and kind not in WRITTEN
        }  # fmt: skip
    for split, words in (("train", SEEN), ("unseen", UNSEEN)):
        title, level = f"Written answers, {words}", replace(_level(), split=split, zh=0.0)
        count = max(2, questions // 30)
        with tqdm(total=len(KINDS) * count, desc=title, leave=False, disable=None) as bar:
            scores[title] = written_scores(checkpoint, stream, level, count, bar.update)
    return scores


def _level() -> Difficulty:
    return replace(
        difficulty(1.0),
        earlier=0.0,
        zh=0.0,
        clips=0.0,
        pairs=0.0,
        reading=0.04,
        texts=(1,),
        clip_things=(1, 3),
    )


def _sections(questions: int) -> Iterator[tuple[str, Difficulty, int]]:
    level, whole = _level(), BATCH * SEGMENTS
    for split, words in (("train", SEEN), ("unseen", UNSEEN)):
        yield f"Pictures, {words}", replace(level, split=split), questions // whole
        yield f"Clips, {words}", replace(level, clips=1.0, split=split), 2 * questions // whole
        yield f"Two pictures, {words}", replace(level, pairs=1.0, split=split), questions // whole
        reading = replace(level, reading=1.0, kinds=("read",), dialogues=0.0, split=split)
        yield f"Pictures with text, {words}", reading, max(2, questions // 4 // whole)
    yield "Pictures, Chinese", replace(level, zh=1.0, dialogues=0.0), questions // 2 // whole
    yield "Pictures, after a turn about another", replace(level, earlier=1.0), questions // whole


def judged(scores: Scores) -> list[dict]:
    """Every promised kind with its figures and whether they hold; the page offers those that do."""
    rows = []
    for promise in PROMISES:
        for kind in promise.kinds:
            seen = scores.get(f"{promise.medium}, {SEEN}", {}).get(kind)
            unseen = scores.get(f"{promise.medium}, {UNSEEN}", {}).get(kind)
            if seen is not None:
                rows.append(_judged(promise, kind, seen, unseen))
    return rows


def _judged(promise: Promise, kind: str, seen: Score, unseen: Score | None) -> dict:
    low, high = seen.interval()
    fails = [
        reason
        for reason, failed in {
            "floor": seen.accuracy < promise.floor,
            "wording": unseen is not None and seen.accuracy - unseen.accuracy > WORDING,
            "blind": seen.accuracy - seen.baseline < OVER_BLIND,
        }.items()
        if failed
    ]
    return {
        "group": promise.title,
        "medium": promise.medium,
        "kind": kind,
        "floor": promise.floor,
        "goal": promise.goal,
        "asked": seen.asked,
        "right": round(seen.accuracy, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "unseen": None if unseen is None else round(unseen.accuracy, 3),
        "wrong_picture": round(seen.baseline, 3),
        "fails": fails,
        "offered": "floor" not in fails and "blind" not in fails,
    }


_FAILS = {"floor": "below the floor", "wording": "unseen wordings cost more", "blind": "too near to blind"}


def promises_table(rows: list[dict]) -> str:
    """Markdown: what was promised, and what holds."""
    lines = [
        "| question | floor | goal | right | 95% interval | unseen wordings | wrong picture | |",
        "|---|---:|---:|---:|---|---:|---:|---|",
    ]
    for row in rows:
        says = ", ".join(_FAILS[reason] for reason in row["fails"]) or "holds"
        unseen = "" if row["unseen"] is None else f"{row['unseen']:.2f}"
        lines.append(
            f"| {row['group']}: {row['kind']} | {row['floor']:.2f} | {row['goal']:.2f} "
            f"| {row['right']:.2f} | {row['low']:.2f}–{row['high']:.2f} | {unseen} "
            f"| {row['wrong_picture']:.2f} | {says} |"
        )
    return "\n".join(lines)


def scores_table(scores: Scores) -> str:
    """Markdown tables, one a section."""
    lines = []
    for title, kinds in scores.items():
        lines += [f"**{title}**", "", "| question | asked | right | 95% interval | wrong picture |"]
        lines += ["|---|---:|---:|---|---:|"]
        for kind, score in kinds.items():
            low, high = score.interval()
            lines.append(
                f"| {kind} | {score.asked} | {score.accuracy:.2f} "
                f"| {low:.2f}–{high:.2f} | {score.baseline:.2f} |"
            )
        lines.append("")
    return "\n".join(lines)


def as_json(scores: Scores, speed: dict | None = None) -> dict:
    """The same for programs: what may be offered, each promise, and every score."""
    rows = judged(scores)
    sections = {
        title: {
            kind: {
                "asked": score.asked,
                "right": round(score.accuracy, 3),
                "low": round(score.interval()[0], 3),
                "wrong_picture": round(score.baseline, 3),
            }
            for kind, score in kinds.items()
        }
        for title, kinds in scores.items()
    }
    offered = [{"medium": row["medium"], "kind": row["kind"]} for row in rows if row["offered"]]
    return {"offered": offered, "promises": rows, "scores": sections} | ({"speed": speed} if speed else {})


def write_card(path: Path, scores: Scores, speed: dict | None = None) -> None:
    """Replace what stands between the two markers of a model card, and write ``scores.json`` beside it."""
    text = path.read_text()
    if START not in text or END not in text:
        raise InputError(f"{path.name} lacks the two markers that the figures go between")
    parts = [
        promises_table(judged(scores)),
        "",
        *([SPEED.format(**speed), ""] if speed else []),
        scores_table(scores),
    ]
    figures = f"{START}\n\n" + "\n".join(parts) + f"\n{END}"
    path.write_text(
        re.sub(re.escape(START) + ".*" + re.escape(END), lambda _: figures, text, flags=re.DOTALL)
    )
    (path.parent / "scores.json").write_text(json.dumps(as_json(scores, speed), indent=1) + "\n")
