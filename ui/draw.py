"""Records → what the panels draw: plain data and small pictures, without gradio.

Nothing here computes what the model computed: every figure is read from the Trace of a turn.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from vlm.records import Patches, Sequence, Span, Trace

KINDS = ("text", "special", "image", "video", "answer")
# How large the frames of a clip are sent to the browser, by how many there are: some 4 MB at most.
_EDGES = ((16, 768), (64, 384), (10**9, 160))


def media_spans(sequence: Sequence, index: int) -> list[Span]:
    """The spans of one medium, in time order: one for a picture, one or many for a clip."""
    return [span for span in sequence.spans if span.media == index]


def frame_starts(sequence: Sequence, index: int) -> list[int]:
    """Token index of the first cell of every temporal patch of one medium."""
    return [
        span.start + step * span.cells[1] * span.cells[2]
        for span in media_spans(sequence, index)
        for step in range(span.cells[0])
    ]


def data_uri(pixels: np.ndarray, edge: int) -> str:
    """An (H, W, 3) uint8 picture as a data URI no larger than ``edge``: PNG while small, else JPEG."""
    image = Image.fromarray(pixels)
    image.thumbnail((edge, edge))
    lossless = max(image.size) <= 320
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if lossless else "JPEG", **({} if lossless else {"quality": 88}))
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def grid_data(trace: Trace) -> dict:
    """What the Patches panel draws: every medium with its frames, cells, boxes and positions."""
    media = [_grid_medium(trace.sequence, index) for index in range(len(trace.sequence.media))]
    return {"media": media, "pick": len(media) - 1}


def _grid_medium(sequence: Sequence, index: int) -> dict:
    patches = sequence.media[index]
    _, rows, columns = patches.cells_thw
    return {
        "name": patches.name,
        "kind": patches.kind,
        "original": [patches.width, patches.height],
        "seen": [patches.resized.shape[2], patches.resized.shape[1]],
        "patch": patches.patch_size,
        "merge": patches.merge_size,
        "cells": list(patches.cells_thw),
        "tokens": patches.tokens,
        "frames": list(_frames(sequence, index)),
        "xs": [patches.cell_box(0, column)[0] for column in range(columns)] + [patches.width],
        "ys": [patches.cell_box(row, 0)[1] for row in range(rows)] + [patches.height],
        "notes": list(patches.notes),
    }


def _frames(sequence: Sequence, index: int) -> Iterator[dict]:
    """One entry a temporal patch: its pictures and times, its first token and its cells' positions."""
    patches = sequence.media[index]
    cells = patches.cells_thw[1] * patches.cells_thw[2]
    edge = next(edge for most, edge in _EDGES if len(patches.resized) <= most)
    for step, start in enumerate(frame_starts(sequence, index)):
        shown = slice(step * patches.temporal_patch_size, (step + 1) * patches.temporal_patch_size)
        yield {
            "start": start,
            "time": patches.timestamps[step] if patches.timestamps else None,
            "times": list(patches.frame_timestamps[shown]),
            "images": [data_uri(frame, edge) for frame in patches.resized[shown]],
            "positions": sequence.positions[:, start : start + cells].tolist(),
        }


def position_data(trace: Trace) -> dict:
    """What the Positions panel draws: the (t, h, w) ids of every token, with its text and kind."""
    sequence = trace.sequence
    t, h, w = sequence.positions.tolist()
    media = [
        {
            "name": patches.name,
            "kind": patches.kind,
            "cells": list(patches.cells_thw),
            "starts": frame_starts(sequence, index),
        }
        for index, patches in enumerate(sequence.media)
    ]
    return {
        "tokens": list(trace.tokens),
        "spans": [[span.kind, span.start, span.stop] for span in sequence.spans],
        "t": t,
        "h": h,
        "w": w,
        "rope_delta": sequence.rope_delta,
        "media": media,
        "pick": len(media) - 1,
    }


def token_data(trace: Trace) -> dict:
    """What the Tokens panel draws: arithmetic of every medium, totals, context and timing."""
    sequence, stats = trace.sequence, trace.stats
    return {
        "media": [_arithmetic(patches) for patches in sequence.media],
        "kinds": [[kind, sequence.count(kind)] for kind in KINDS],
        "total": len(sequence),
        "context": stats.get("context_length"),
        "stats": timing(stats),
    }


def _arithmetic(patches: Patches) -> dict:
    return {
        "name": patches.name,
        "kind": patches.kind,
        "original": [patches.width, patches.height],
        "seen": [patches.resized.shape[2], patches.resized.shape[1]],
        "frames": len(patches.resized),
        "temporal": patches.temporal_patch_size,
        "patch": patches.patch_size,
        "merge": patches.merge_size,
        "grid": list(patches.grid_thw),
        "cells": list(patches.cells_thw),
        "tokens": patches.tokens,
        "notes": list(patches.notes),
    }


def timing(stats: dict) -> list[list[str]]:
    """Label, value and meaning of a turn's figures; what was not measured is left out."""
    rows = (
        ("First token", _unit(stats.get("first_token_ms"), "ms"), "from the question to the first word"),
        ("Writing", _unit(stats.get("decode_tokens_per_s"), "tokens/s"), "after the first token"),
        ("Looking", _unit(stats.get("encode_ms"), "ms"), "vision tower and connector"),
        ("Reading", _unit(stats.get("prefill_ms"), "ms"), "the prompt through the decoder"),
        ("Reused", _unit(stats.get("reused_tokens"), "tokens"), "still in the cache from earlier turns"),
        ("Computed", _unit(stats.get("computed_tokens"), "tokens"), "new in this turn"),
        ("KV cache", _bytes(stats.get("kv_cache_bytes")), "keys and values kept for the next token"),
        ("Weights", _bytes(stats.get("weights_bytes")), "the model's parameters in memory"),
        ("Device", stats.get("device"), "where it ran"),
        ("Precision", stats.get("dtype"), "of weights and activations"),
        ("Attention", stats.get("attention"), "the backend that was chosen at start-up"),
    )
    return [[label, str(value), meaning] for label, value, meaning in rows if value is not None]


def _unit(value: float | None, unit: str) -> str | None:
    if value is None:
        return None
    return f"{value:,.0f} {unit}" if isinstance(value, int) or value >= 100 else f"{value:,.1f} {unit}"


def _bytes(value: int | None) -> str | None:
    if value is None:
        return None
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,} B"


def short_number(value: int) -> str:
    """4,321,000 → 4.3 M."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)
