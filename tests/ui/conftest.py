"""A trace made by hand: a picture of 2 × 3 cells, a clip of two temporal patches of 1 × 2 cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ui.service import ModelFacts, Run
from vlm.inputs.positions import mrope_positions
from vlm.records import Patches, Sequence, Span, Trace


def patches(kind: str, name: str, frames: int, cells: tuple[int, int, int], size: tuple[int, int]) -> Patches:
    t, rows, columns = cells
    rng = np.random.default_rng(0)
    return Patches(
        kind=kind,
        name=name,
        pixels=torch.zeros(t * rows * columns * 4, 8),
        grid_thw=(t, rows * 2, columns * 2),
        resized=rng.integers(0, 255, (frames, rows * 32, columns * 32, 3), dtype=np.uint8),
        width=size[0],
        height=size[1],
        digest=name,
        patch_size=16,
        merge_size=2,
        temporal_patch_size=2,
        timestamps=tuple(0.5 + step for step in range(t)) if kind == "video" else (),
        frame_timestamps=tuple(float(frame) for frame in range(frames)) if kind == "video" else (),
    )


@pytest.fixture
def trace() -> Trace:
    media = (
        patches("image", "cat.png", 1, (1, 2, 3), (300, 100)),
        patches("video", "run.mp4", 3, (2, 1, 2), (64, 32)),
    )
    spans = (
        Span("special", 0, 2),
        Span("image", 2, 8, cells=(1, 2, 3), media=0),
        Span("text", 8, 10),
        Span("video", 10, 12, cells=(1, 1, 2), media=1),
        Span("special", 12, 13),
        Span("video", 13, 15, cells=(1, 1, 2), media=1, frame=1),
        Span("text", 15, 18),
        Span("answer", 18, 20),
    )
    positions, delta = mrope_positions(spans)
    sequence = Sequence(torch.arange(20), spans, positions, delta, media)
    stats = {
        "context_length": 4096,
        "first_token_ms": 63.42,
        "decode_tokens_per_s": 152.3,
        "reused_tokens": 0,
        "kv_cache_bytes": 3 * 2**20,
        "device": "cpu",
    }
    return Trace(sequence, tuple(f"<{i}>" for i in range(20)), "a cat", "eos", stats)


FACTS = ModelFacts(
    name="tiny", family="qwen3_vl", parameters=4_300_000, device="cpu", dtype="bfloat16", attention="sdpa",
    context_length=4096, axes="thwthwt",
)  # fmt: skip


@pytest.fixture
def run(trace) -> Run:
    return Run("id", trace, FACTS)
