"""Records → what the panels draw: plain data and small pictures, without gradio.

Nothing here computes what the model computed: every figure is read from the Trace of a turn.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ui.service.records import Run

if TYPE_CHECKING:
    from vlm.records import Patches, Sequence, Span

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


def integers(values) -> str:
    """Many numbers as base64 of little-endian int32: a browser reads 16,384 of them in no time."""
    return base64.b64encode(np.asarray(values, "<i4").tobytes()).decode()


def grid_data(run: Run) -> dict:
    """What the Patches panel draws: every medium with its frames, cells, boxes and positions."""
    facts, media = run.facts, media_data(run.trace.sequence)
    windows = None
    if facts.window_cells:
        windows = {
            "cells": facts.window_cells,
            "full": list(facts.full_attention),
            "blocks": facts.tower_blocks,
        }
    return {"run": run.run_id, "media": media, "pick": len(media) - 1, "windows": windows}


def media_data(sequence: Sequence) -> list[dict]:
    """Every medium with its frames, cells, boxes and positions."""
    return [_grid_medium(sequence, index) for index in range(len(sequence.media))]


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
            "positions": [integers(axis[start : start + cells]) for axis in sequence.positions],
        }


def position_data(run: Run) -> dict:
    """What the Positions panel draws: the (t, h, w) ids of every token, with its text and kind."""
    sequence = run.trace.sequence
    t, h, w = (integers(axis) for axis in sequence.positions)
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
        "run": run.run_id,
        "tokens": list(run.trace.tokens),
        "spans": [[span.kind, span.start, span.stop] for span in sequence.spans],
        "t": t,
        "h": h,
        "w": w,
        "rope_delta": sequence.rope_delta,
        "axes": run.facts.axes,
        "media": media,
        "pick": len(media) - 1,
    }


def token_data(run: Run) -> dict:
    """What the Tokens panel draws: arithmetic of every medium, totals, context, reuse."""
    sequence, stats = run.trace.sequence, run.trace.stats
    elsewhere = [*run.elsewhere, *[None] * len(sequence.media)]
    return {
        "media": [
            _arithmetic(patches) | {"elsewhere": elsewhere[index]}
            for index, patches in enumerate(sequence.media)
        ],
        "kinds": [[kind, sequence.count(kind)] for kind in KINDS],
        "total": len(sequence),
        "context": stats.get("context_length"),
        "reused": stats.get("reused_tokens"),
        "computed": stats.get("computed_tokens"),
    }


def run_data(run: Run) -> dict:
    """What the Run panel draws: the stages of the turn in milliseconds, and its figures."""
    return {
        "live": False,
        "stages": stages(run.trace.stats),
        "stats": timing(run.trace.stats),
        "notes": list(run.trace.stats.get("notes") or ()),
    }


def stages(stats: dict) -> list[list]:
    """[name, milliseconds] in order of what the turn spent its time on."""
    tokens, speed = stats.get("answer_tokens") or 0, stats.get("decode_tokens_per_s")
    rows = (
        ("waiting", stats.get("queue_ms")),
        ("files", stats.get("media_ms")),
        ("vision", stats.get("encode_ms")),
        ("prompt", stats.get("prefill_ms")),
        ("answer", 1000 * (tokens - 1) / speed if speed else None),
    )
    return [[name, round(value, 1)] for name, value in rows if value]


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
        ("Guessed", _guessed(stats), "guessed ahead and right: they took no step of their own"),
        ("Answer", _unit(stats.get("answer_tokens"), "tokens"), "written in this turn"),
        ("Waiting", _unit(stats.get("queue_ms"), "ms"), "for other people's answers"),
        ("Vision", _unit(stats.get("encode_ms"), "ms"), "tower and connector"),
        ("Prompt", _unit(stats.get("prefill_ms"), "ms"), "through the decoder, before the first word"),
        ("Reused", _unit(stats.get("reused_tokens"), "tokens"), "still in the cache from earlier turns"),
        ("Computed", _unit(stats.get("computed_tokens"), "tokens"), "new in this turn"),
        ("KV cache", _bytes(stats.get("kv_cache_bytes")), "keys and values kept for the next token"),
        ("Weights", _bytes(stats.get("weights_bytes")), "the model's parameters in memory"),
        ("Peak memory", _bytes(stats.get("peak_memory_bytes")), "the most that this process ever held"),
        ("Device", stats.get("device"), "where it ran"),
        ("Precision", stats.get("dtype"), "of weights and activations"),
        ("Attention", stats.get("attention"), stats.get("attention_reason") or "the backend in use"),
        ("Quantisation", stats.get("quantize"), stats.get("quantize_reason") or "of the decoder's weights"),
    )
    return [[label, str(value), meaning] for label, value, meaning in rows if value is not None]


def _guessed(stats: dict) -> str | None:
    if stats.get("guessed_tokens") is None:
        return None
    return f"{stats['accepted_tokens']:,} of {stats['guessed_tokens']:,}"


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
