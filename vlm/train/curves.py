"""A picture of a run's curves: losses and accuracies by step."""

from __future__ import annotations

import json
from pathlib import Path

from vlm.train.card import PROMISES

LOSSES = ("answers", "shape", "colour", "size", "pattern", "centre", "left_letter", "deed")


def read_log(out: Path) -> list[dict]:
    """The records of a run. Where it was resumed some steps come twice: the later ones count."""
    records = (json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    return list({record["step"]: record for record in records}.values())


def draw_curves(out: Path) -> Path | None:
    """Write ``curves.png`` beside the log; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    records = read_log(out)
    figure = Figure(figsize=(12, 4), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    _draw_losses(losses, records)
    _draw_scores(scores, [record for record in records if record.get("scores")])
    path = out / "curves.png"
    figure.savefig(path, dpi=120)
    return path


def _draw_losses(axes, records: list[dict]) -> None:
    for name in LOSSES:
        points = [(record["step"], record[name]) for record in records if name in record]
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, _smooth(values), label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="Losses (running mean)")
    axes.legend(fontsize=8)


def _draw_scores(axes, records: list[dict]) -> None:
    """One line for each group of kinds that the card makes promises for: a line a kind would be 35."""
    for kinds, title in _groups().items():
        points = [(r["step"], share) for r in records if (share := _right(r["scores"], kinds)) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=title)
    axes.set(xlabel="step", ylabel="right", ylim=(0, 1.02), title="Held-out questions")
    if axes.lines:
        axes.legend(fontsize=8, loc="lower right")


def _groups() -> dict[tuple[str, ...], str]:
    """Boxes and descriptions are left out: while training they are only compared word by word.

    The log does not tell follow-ups about pictures from those about clips: the first title stands for both.
    """
    media = ("Pictures", "Pictures with text", "Clips")
    return {promise.kinds: promise.title for promise in reversed(PROMISES) if promise.medium in media}


def _right(scores: dict[str, list], kinds: tuple[str, ...]) -> float | None:
    """Share of right answers among all questions of these kinds."""
    asked = [(share, count) for share, _, count in (scores[kind] for kind in kinds if kind in scores)]
    total = sum(count for _, count in asked)
    return sum(share * count for share, count in asked) / total if total else None


def _smooth(values, share: float = 0.95) -> list[float]:
    mean, smooth = values[0], []
    for value in values:
        mean = share * mean + (1 - share) * value
        smooth.append(mean)
    return smooth
