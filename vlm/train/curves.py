"""A picture of a run's curves: losses and accuracies by step."""

from __future__ import annotations

import json
from pathlib import Path

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
    for kind in sorted({kind for record in records for kind in record["scores"]}):
        points = [(r["step"], r["scores"][kind][0]) for r in records if kind in r["scores"]]
        axes.plot(*zip(*points, strict=True), marker=".", label=kind)
    axes.set(xlabel="step", ylabel="right", ylim=(0, 1.02), title="Held-out questions by kind")
    if records:
        axes.legend(fontsize=6, ncols=3)


def _smooth(values, share: float = 0.95) -> list[float]:
    mean, smooth = values[0], []
    for value in values:
        mean = share * mean + (1 - share) * value
        smooth.append(mean)
    return smooth
