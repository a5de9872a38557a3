"""Accuracy by kind of question, each beside the same model shown a wrong picture.

An answer counts when every one of its tokens is the model's first choice given the tokens before:
that is when greedy decoding writes exactly this answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt

import torch

from vlm.models.model import VisionLanguageModel
from vlm.train.objective import answer_logits, see
from vlm.train.pack import IGNORE, Batch


@dataclass
class Score:
    """Right answers of one kind; ``blind`` are those that were right with a wrong picture too."""

    asked: int = 0
    right: int = 0
    blind: int = 0

    @property
    def accuracy(self) -> float:
        return self.right / max(1, self.asked)

    @property
    def baseline(self) -> float:
        return self.blind / max(1, self.asked)

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Wilson score interval of the accuracy (95% by default)."""
        n, p = max(1, self.asked), self.accuracy
        middle, spread = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


@torch.inference_mode()
def evaluate(
    model: VisionLanguageModel,
    batches: Iterable[Batch],
    progress: Callable[[], None] | None = None,
    blind: bool = True,
) -> dict[str, Score]:
    """Score all questions of ``batches``, by kind; with ``blind`` also beside wrong pictures."""
    scores: dict[str, Score] = defaultdict(Score)
    for batch in batches:
        features, taps = see(model, batch)
        seen = _right(model, batch, features, taps)
        others = [False] * len(seen)
        if blind:
            others = _right(model, batch, _swap(features, batch), tuple(_swap(tap, batch) for tap in taps))
        for answer, right, guessed in zip(batch.answers, seen, others, strict=True):
            score = scores[answer.kind]
            score.asked += 1
            score.right += right
            score.blind += guessed
        if progress:
            progress()
    return dict(scores)


def _right(model, batch: Batch, features, taps) -> list[bool]:
    logits, targets = answer_logits(model, batch, features, taps)
    hits = torch.ones_like(batch.targets, dtype=torch.bool)
    hits[batch.targets != IGNORE] = logits.argmax(-1) == targets
    hits = hits.cpu()
    return [bool(hits[answer.start : answer.stop].all()) for answer in batch.answers]


def _swap(features: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Give every row the picture of another, half the batch away (so pairs stay pairs)."""
    pictures = len(batch.grids)
    return features.view(pictures, -1, features.shape[-1]).roll(pictures // 2, 0).flatten(0, 1)
