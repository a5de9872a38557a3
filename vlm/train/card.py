"""The figures of the model card, written by the evaluation and by nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from vlm.families.base import Checkpoint
from vlm.records import InputError
from vlm.train.evaluate import Score, evaluate
from vlm.train.pack import Batch, Packer
from vlm.train.stream import Difficulty, Stream, difficulty
from vlm.train.train import HELD_OUT

START, END = "<!-- figures: written by `python -m vlm evaluate --card` -->", "<!-- end of figures -->"
BATCH, SEGMENTS = 16, 8


def full_scores(checkpoint: Checkpoint, questions: int) -> dict[str, list[dict]]:
    """Scores on held-out pictures and clips, for wordings used in training and for unseen ones.

    Returns:
        section title → rows with kind, asked, accuracy, low, high (95% interval) and baseline.
    """
    stream = Stream(
        Packer(checkpoint.tokenizer, checkpoint.config), checkpoint.config.pixels,
        batch=BATCH, segments=SEGMENTS, seed=HELD_OUT,
    )  # fmt: skip
    return {title: _rows(checkpoint, stream, level, count) for title, level, count in _sections(questions)}


def _sections(questions: int) -> Iterator[tuple[str, Difficulty, int]]:
    level = replace(difficulty(1.0), small_talk=0.01)
    for split, words in (("train", "wordings seen in training"), ("unseen", "wordings never trained on")):
        yield f"Pictures, {words}", replace(level, clips=0.0, split=split), questions // (BATCH * SEGMENTS)
        clips = max(1, BATCH // 3)
        yield f"Clips, {words}", replace(level, clips=1.0, split=split), questions // (clips * SEGMENTS)


def _rows(checkpoint: Checkpoint, stream: Stream, level: Difficulty, count: int) -> list[dict]:
    batches: Iterator[Batch] = (
        stream.make(number, level) for number in tqdm(range(count), leave=False, disable=None)
    )
    scores = evaluate(checkpoint.model, batches)
    return [_row(kind, score) for kind, score in sorted(scores.items()) if score.asked >= 30]


def _row(kind: str, score: Score) -> dict:
    low, high = score.interval()
    figures = {"accuracy": score.accuracy, "low": low, "high": high, "baseline": score.baseline}
    return {"kind": kind, "asked": score.asked, **{name: round(value, 3) for name, value in figures.items()}}


def scores_table(scores: dict[str, list[dict]]) -> str:
    """Markdown tables, one a section."""
    lines = []
    for title, rows in scores.items():
        lines += [f"**{title}**", "", "| question | asked | right | 95% interval | wrong picture |"]
        lines += ["|---|---:|---:|---|---:|"]
        lines += [
            f"| {row['kind']} | {row['asked']} | {row['accuracy']:.2f} | "
            f"{row['low']:.2f}–{row['high']:.2f} | {row['baseline']:.2f} |"
            for row in rows
        ]
        lines.append("")
    return "\n".join(lines)


def write_card(path: Path, scores: dict[str, list[dict]]) -> None:
    """Replace what stands between the two markers of a model card."""
    text = path.read_text()
    if START not in text or END not in text:
        raise InputError(f"{path.name} lacks the two markers that the figures go between")
    figures = f"{START}\n\n{scores_table(scores)}\n{END}"
    path.write_text(
        re.sub(re.escape(START) + ".*" + re.escape(END), lambda _: figures, text, flags=re.DOTALL)
    )
