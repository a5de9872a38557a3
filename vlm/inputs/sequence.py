"""Turns and media → Sequence: expand placeholders, mark spans, place positions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import replace
from itertools import groupby

import torch

from vlm.config import TokenConfig
from vlm.inputs.positions import mrope_positions
from vlm.inputs.tokenizer import VIDEO_PAD, Tokenizer
from vlm.records import Patches, Sequence, Span, SpanKind

_VIDEO_BLOCK = f"<|vision_start|>{VIDEO_PAD}<|vision_end|>"


def build_sequence(
    messages: Items[dict],
    media: Items[Patches],
    tokenizer: Tokenizer,
    tokens: TokenConfig,
    *,
    generation_prompt: bool = True,
) -> Sequence:
    """Render a conversation and put its media in place.

    Args:
        messages: content-parts messages; the n-th image or video part stands for ``media[n]``. An
            assistant message may carry ``ids``, the tokens that the model wrote: they go back in as they
            are, since reading the text anew could cut it into other tokens.
    """
    mark = _unused_character(messages)
    written = [{**message, "content": mark} if "ids" in message else message for message in messages]
    text = tokenizer.render(written, generation_prompt=generation_prompt)
    if tokens.frame_timestamps:
        text = _write_frame_times(text, [patches for patches in media if patches.kind == "video"])
    answers = [message["ids"] for message in messages if "ids" in message]
    ids, spans = _Layout(tokenizer, tokens, media).lay_out(text.split(mark), answers)
    seconds = [_seconds_per_patch(patches) for patches in media]
    positions, delta = mrope_positions(spans, tokens.seconds_to_ids, seconds)
    return Sequence(torch.tensor(ids), tuple(spans), positions, delta, tuple(media))


def user_message(text: str, media: Items[Patches]) -> dict:
    """A question in the content-parts form: its media first, then the text."""
    parts = [{"type": patches.kind} for patches in media]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def append_answer(sequence: Sequence, ids: Items[int]) -> Sequence:
    """The sequence with generated tokens behind it, at the positions they were generated at."""
    if not ids:
        return sequence
    start, stop = len(sequence), len(sequence) + len(ids)
    positions = torch.arange(start, stop) + sequence.rope_delta
    return replace(
        sequence,
        ids=torch.cat((sequence.ids, torch.tensor(ids))),
        spans=(*sequence.spans, Span("answer", start, stop)),
        positions=torch.cat((sequence.positions, positions.expand(3, -1)), dim=1),
    )


def _unused_character(messages: Items[dict]) -> str:
    """Stands for an earlier answer while the template is rendered, so nobody may have written it."""
    contents = [message["content"] for message in messages]
    parts = [[{"text": content}] if isinstance(content, str) else content for content in contents]
    written = {character for row in parts for part in row for character in part.get("text", "")}
    return next(mark for mark in map(chr, range(0xE000, 0xF900)) if mark not in written)  # private use


def _write_frame_times(text: str, videos: list[Patches]) -> str:
    """Replace each video's block by one timed block a temporal patch (Qwen3-VL).

    The outer vision_start / vision_end pair is dropped, as in the release that shipped the model.
    """
    queue = iter(videos)
    return re.sub(
        re.escape(_VIDEO_BLOCK),
        lambda _: "".join(f"<{second:.1f} seconds>{_VIDEO_BLOCK}" for second in next(queue).timestamps),
        text,
    )


class _Layout:
    """Lays tokens out in a row and notes what each run is."""

    def __init__(self, tokenizer: Tokenizer, tokens: TokenConfig, media: Items[Patches]):
        self._tokenizer, self._placeholders = tokenizer, {tokens.image, tokens.video}
        self._blocks = _blocks(media, tokens)
        self._ids: list[int] = []
        self._spans: list[Span] = []

    def lay_out(self, pieces: Items[str], answers: Items[Items[int]]) -> tuple[list[int], list[Span]]:
        """Ids and gapless spans of a rendered prompt, in pieces between which the answers belong."""
        queue = iter(answers)
        for number, piece in enumerate(pieces):
            if number:
                self._add("answer", next(queue))
            for kind, run in groupby(self._tokenizer.encode(piece), key=self._kind):
                if kind == "media":
                    self._add_media(len(list(run)))
                else:
                    self._add(kind, list(run))
        if next(self._blocks, None) is not None:
            raise ValueError("more media than placeholders in the messages")
        return self._ids, self._spans

    def _kind(self, token: int) -> str:
        if token in self._placeholders:
            return "media"
        return "special" if token in self._tokenizer.special_ids else "text"

    def _add(self, kind: SpanKind, ids: Items[int], **where) -> None:
        if ids:
            self._spans.append(Span(kind, len(self._ids), len(self._ids) + len(ids), **where))
            self._ids += ids

    def _add_media(self, count: int) -> None:
        """One placeholder a block becomes one token a merged cell."""
        for _ in range(count):
            kind, token, where = next(self._blocks)
            self._add(kind, [token] * math.prod(where["cells"]), **where)


def _blocks(media: Items[Patches], tokens: TokenConfig) -> Iterator[tuple[SpanKind, int, dict]]:
    """Kind, placeholder id and span fields of every vision block in prompt order."""
    for index, patches in enumerate(media):
        t, h, w = patches.cells_thw
        token = tokens.image if patches.kind == "image" else tokens.video
        if patches.kind == "video" and tokens.frame_timestamps:
            for frame in range(t):
                yield "video", token, {"cells": (1, h, w), "media": index, "frame": frame}
        else:
            yield patches.kind, token, {"cells": (t, h, w), "media": index}


def _seconds_per_patch(patches: Patches) -> float | None:
    """Seconds covered by one temporal patch of a video: temporal_patch_size over the sampled fps.

    Frames that came without a rate are taken as evenly spaced over their times.
    """
    if patches.kind != "video":
        return None
    if patches.sampled_fps:
        return patches.temporal_patch_size / patches.sampled_fps
    times = patches.frame_timestamps
    if len(times) < 2:
        return 1.0
    return patches.temporal_patch_size * (times[-1] - times[0]) / (len(times) - 1)
