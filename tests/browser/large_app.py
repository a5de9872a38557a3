"""The app with a made-up model whose every turn holds a picture of 128 × 128 cells: 16,384 tokens."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from ui.build import Serving, build, launch
from ui.service import ModelFacts, Service, backend
from vlm.inputs.positions import mrope_positions
from vlm.records import Patches, Sequence, Span, Step, Trace

SIDE, CELL = 128, 28
FACTS = ModelFacts(
    name="large", family="qwen2_5_vl", parameters=8_290_000_000, device="cpu", dtype="bfloat16",
    attention="sdpa", context_length=128_000, axes="t" * 16 + "h" * 24 + "w" * 24, cell=CELL,
    largest_edge=SIDE * CELL, window_cells=4, full_attention=(7, 15, 23, 31), tower_blocks=32,
)  # fmt: skip


class Engine:
    """What the page asks of an engine that only pretends."""

    name = "large"


def picture() -> Patches:
    """A smooth picture with some noise in it, as a photo has."""
    edge = SIDE * CELL
    slope = np.linspace(0, 200, edge, dtype=np.float32)
    noise = np.random.default_rng(0).integers(0, 55, (edge, edge), dtype=np.uint8)
    grey = (slope[:, None] / 2 + slope[None] / 2).astype(np.uint8) + noise
    return Patches(
        kind="image", name="large.png", pixels=torch.zeros(0, 8), grid_thw=(1, 2 * SIDE, 2 * SIDE),
        resized=np.repeat(grey[None, :, :, None], 3, axis=3), width=4000, height=4000, digest="large",
        patch_size=14, merge_size=2, temporal_patch_size=2,
    )  # fmt: skip


def trace() -> Trace:
    vision = SIDE * SIDE
    spans = (
        Span("special", 0, 4),
        Span("image", 4, 4 + vision, cells=(1, SIDE, SIDE), media=0),
        Span("text", 4 + vision, 24 + vision),
        Span("answer", 24 + vision, 26 + vision),
    )
    positions, delta = mrope_positions(spans)
    sequence = Sequence(torch.arange(26 + vision), spans, positions, delta, (picture(),))
    stats = {
        "context_length": 128_000,
        "answer_tokens": 2,
        "reused_tokens": 0,
        "computed_tokens": len(sequence),
    }
    return Trace(sequence, ("<|image_pad|>",) * len(sequence), "Grey.", "eos", stats)


class Chat:
    """Answers every question with the same trace."""

    made = trace()

    def __init__(self, engine, *_):
        self.engine, self.turns = engine, []

    def ask(self, text, *_, **__):
        self.turns.append(text)
        yield Step(1, "Grey.", 0)
        time.sleep(0.2)
        yield self.made

    def undo(self):
        self.turns.pop()


def large_service() -> Service:
    backend.ChatSession = Chat
    service = Service(Engine())
    service._facts = FACTS
    return service


if __name__ == "__main__":
    service = large_service()
    serving = Serving(port=int(sys.argv[-1]))
    launch(build(service, serving), service, serving)
