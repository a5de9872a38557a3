"""Where a run's batches come from: drawn scenes, or a person's own conversations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random

from vlm.families.base import Checkpoint
from vlm.inputs.media import read_media
from vlm.inputs.patches import to_patches
from vlm.records import Patches
from vlm.train.conversations import Conversation, read_conversations
from vlm.train.evaluate import evaluate
from vlm.train.pack import Batch, Packer
from vlm.train.stream import Difficulty, Stream, difficulty

HELD_OUT = 10**9  # seeds from here on are never trained on


class Scenes:
    """Synthetic scenes along the curriculum, from ``start`` (0 … 1) on."""

    def __init__(self, checkpoint: Checkpoint, batch: int, segments: int, seed: int, start: float = 0.0):
        self.checkpoint, self.start = checkpoint, start
        packer = Packer(checkpoint.tokenizer, checkpoint.config)
        self.stream = Stream(packer, checkpoint.config.pixels, batch=batch, segments=segments, seed=seed)

    def batch(self, number: int, world: int, progress: float) -> Batch:
        """Batch ``number`` of a run of ``world`` processes, ``progress`` (0 … 1) of its way through."""
        return self.stream.make(number, difficulty(self.start + (1 - self.start) * progress), world)

    def cells_weight(self, progress: float) -> float:
        """The auxiliary losses fade to a half of their weight."""
        return max(0.5, 1 - self.start - (1 - self.start) * progress)

    def scores(self) -> dict:
        """A few hundred held-out questions at full difficulty: enough to see the curve."""
        stream = Stream(self.stream.packer, self.stream.pixels, batch=32, segments=8, seed=0)
        level = difficulty(1.0)
        batches = [
            *held_out(stream, replace(level, clips=0.0, earlier=0.0), 4),
            *held_out(stream, replace(level, clips=1.0, earlier=0.0), 3, HELD_OUT + 1),
        ]
        return _scores(self.checkpoint, batches)


def held_out(stream: Stream, level: Difficulty, count: int, seed: int = HELD_OUT) -> Iterator[Batch]:
    """``count`` batches from seeds that training never uses."""
    fixed = Stream(stream.packer, stream.pixels, batch=stream.batch, segments=stream.segments, seed=seed)
    return (fixed.make(number, level) for number in range(count))


class Files:
    """A person's conversations, shuffled anew each epoch. Of twenty and more, every tenth is held out."""

    def __init__(self, checkpoint: Checkpoint, data: Path, batch: int, seed: int):
        self.checkpoint, self.size, self.seed = checkpoint, batch, seed
        self.packer = Packer(checkpoint.tokenizer, checkpoint.config)
        everything = read_conversations(data)
        kept = len(everything) >= 20
        self.held = everything[9::10] if kept else []
        self.conversations = [c for i, c in enumerate(everything) if not kept or i % 10 != 9]
        self.patches = lru_cache(maxsize=512)(self._patches)

    def batch(self, number: int, world: int, progress: float) -> Batch:
        """Batch ``number``: the same for the same seed, whenever the run was interrupted."""
        count = len(self.conversations)
        places = range(number * self.size, (number + 1) * self.size)
        return self._pack([self.conversations[self._order(n // count)[n % count]] for n in places])

    def cells_weight(self, progress: float) -> float:
        return 0.0

    def scores(self) -> dict:
        """Answers of the held-out conversations that greedy decoding would write to the letter."""
        starts = range(0, len(self.held), self.size)
        batches = [self._pack(self.held[start : start + self.size]) for start in starts]
        return _scores(self.checkpoint, batches, blind=False)

    @lru_cache(maxsize=2)  # noqa: B019 (one source a run)
    def _order(self, epoch: int) -> list[int]:
        order = list(range(len(self.conversations)))
        Random(f"{self.seed}/{epoch}").shuffle(order)
        return order

    def _pack(self, conversations: list[Conversation]) -> Batch:
        media = [[self.patches(file) for file in conversation.files] for conversation in conversations]
        messages = [conversation.messages for conversation in conversations]
        return self.packer.pack_conversations(messages, media)

    def _patches(self, file: Path) -> Patches:
        pixels = self.checkpoint.config.pixels
        return to_patches(read_media(file, pixels), pixels)


def _scores(checkpoint: Checkpoint, batches: list[Batch], blind: bool = True) -> dict:
    model = checkpoint.model.eval()
    scores = evaluate(model, (batch.to(model.device) for batch in batches), blind=blind)
    model.train()
    return {kind: [round(s.accuracy, 3), round(s.baseline, 3), s.asked] for kind, s in sorted(scores.items())}
