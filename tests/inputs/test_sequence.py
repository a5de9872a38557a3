"""Prompts: placeholders, spans, earlier answers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from vlm.config import TokenConfig
from vlm.inputs.sequence import append_answer, build_sequence
from vlm.records import Patches

SPECIAL = (
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TIMED = TokenConfig(image=4, video=5, vision_start=2, vision_end=3, eos=(1,), frame_timestamps=True)
PLAIN = TokenConfig(4, 5, 2, 3, (1,), frame_timestamps=False, seconds_to_ids=2)


class Letters:
    """A tokenizer of single characters with a template like the official ones."""

    special_ids = frozenset(range(len(SPECIAL)))

    def encode(self, text: str) -> list[int]:
        pieces = re.findall(r"<\|\w+\|>|.", text, re.DOTALL)
        return [SPECIAL.index(piece) if piece in SPECIAL else 10 + ord(piece) for piece in pieces]

    def render(self, messages, *, generation_prompt=True) -> str:
        text = "".join(f"<|im_start|>{m['role']}\n{self._content(m)}<|im_end|>\n" for m in messages)
        return text + "<|im_start|>assistant\n" * generation_prompt

    def _content(self, message) -> str:
        if isinstance(message["content"], str):
            return message["content"]
        block = "<|vision_start|><|{}_pad|><|vision_end|>"
        return "".join(part.get("text") or block.format(part["type"]) for part in message["content"])

    def text(self, ids) -> str:
        return "".join(SPECIAL[i] if i < 10 else chr(i - 10) for i in ids)


def _patches(kind: str, grid, times=()) -> Patches:
    pairs = tuple((a + b) / 2 for a, b in zip(times[::2], times[1::2], strict=True))
    empty = np.zeros((1, 1, 1, 3), np.uint8)
    return Patches(kind, "x", torch.zeros(0), grid, empty, 8, 8, "d", 16, 2, 2, pairs, tuple(times))


PICTURE, CLIP = _patches("image", (1, 4, 6)), _patches("video", (2, 4, 4), (0.0, 0.5, 1.0, 1.5))


def _user(*parts):
    return {
        "role": "user",
        "content": [{"type": "text", "text": p} if p not in KINDS else {"type": p} for p in parts],
    }


KINDS = ("image", "video")


def _build(messages, media=(), tokens=TIMED, **options):
    return build_sequence(messages, media, Letters(), tokens, **options)


def test_one_token_a_merged_cell():
    sequence = _build([_user("image", "hi")], [PICTURE])
    assert sequence.count("image") == 6
    span = next(span for span in sequence.spans if span.kind == "image")
    assert span.cells == (1, 2, 3) and span.media == 0 and len(span) == 6
    assert sequence.ids[span.start - 1] == 2 and sequence.ids[span.stop] == 3


def test_spans_have_no_gaps():
    sequence = _build([_user("a", "image", "b", "video", "c")], [PICTURE, CLIP])
    edges = [0, *(span.stop for span in sequence.spans)]
    assert [span.start for span in sequence.spans] == edges[:-1] and edges[-1] == len(sequence)
    assert sequence.positions.shape == (3, len(sequence))


def test_timed_frames_stand_alone():
    """Qwen3-VL: no outer pair of vision marks around the blocks."""
    text = Letters().text(_build([_user("video", "?")], [CLIP]).ids.tolist())
    block = "<|vision_start|>" + "<|video_pad|>" * 4 + "<|vision_end|>"
    assert f"user\n<0.2 seconds>{block}<1.2 seconds>{block}?" in text


def test_frames_of_one_clip_share_its_media():
    spans = [
        span for span in _build([_user("image", "video")], [PICTURE, CLIP]).spans if span.kind == "video"
    ]
    assert [(span.media, span.frame, span.cells) for span in spans] == [(1, 0, (1, 2, 2)), (1, 1, (1, 2, 2))]


def test_an_untimed_clip_is_one_span():
    sequence = _build([_user("video")], [CLIP], PLAIN)
    (span,) = (span for span in sequence.spans if span.kind == "video")
    assert span.cells == (2, 2, 2) and len(span) == 8
    assert sequence.positions[0, span.start + 4] - sequence.positions[0, span.start] == 2  # 2 ids × 1 second


def test_one_frame_has_no_rate():
    single = _patches("video", (1, 4, 4))
    assert _build([_user("video")], [single], PLAIN).count("video") == 4


def test_earlier_answers_keep_their_tokens():
    """Token 99 stays 99, though reading its text anew could give others."""
    messages = [_user("a"), {"role": "assistant", "content": "", "ids": [99, 98]}, _user("b")]
    sequence = _build(messages)
    (span,) = (span for span in sequence.spans if span.kind == "answer")
    assert sequence.ids[span.start : span.stop].tolist() == [99, 98]
    assert sequence.ids[span.stop] == 1


def test_an_empty_answer():
    messages = [_user("a"), {"role": "assistant", "content": "", "ids": []}, _user("b")]
    text = Letters().text(_build(messages).ids.tolist())
    assert "assistant\n<|im_end|>" in text and _build(messages).count("answer") == 0


@pytest.mark.parametrize("odd", ["\ue000", "\ue000\ue001"])
def test_private_characters_in_a_question(odd):
    """They may look like our own mark for an answer; they are text like any other."""
    messages = [_user(odd), {"role": "assistant", "content": "", "ids": [99]}, _user("b" + odd)]
    text = Letters().text(_build(messages).ids.tolist())
    assert text.count(odd) == 2 and _build(messages).count("answer") == 1


def test_append_answer_goes_on_behind_the_prompt():
    sequence = _build([_user("image", "hi")], [PICTURE])
    longer = append_answer(sequence, [70, 71])
    following = int(sequence.positions.max()) + 1
    assert longer.positions[:, -2:].tolist() == [[following, following + 1]] * 3
    assert longer.spans[-1].kind == "answer" and longer.rope_delta == sequence.rope_delta
    assert append_answer(sequence, []) is sequence


def test_an_appended_answer_stands_where_the_next_turn_puts_it():
    first = append_answer(_build([_user("image", "hi")], [PICTURE]), [70, 71])
    messages = [_user("image", "hi"), {"role": "assistant", "content": "", "ids": [70, 71]}, _user("b")]
    second = _build(messages, [PICTURE])
    assert torch.equal(second.ids[: len(first)], first.ids)
    assert torch.equal(second.positions[:, : len(first)], first.positions)


def test_media_and_placeholders_must_agree():
    with pytest.raises(ValueError, match="more media"):
        _build([_user("hi")], [PICTURE])


def test_temporal_ids_follow_the_sampled_rate_and_not_the_gaps():
    """16 frames at 10 fps, 4 sampled by a linspace that includes the last: Qwen's ids are 0 and 1, not 2."""
    times = tuple(np.linspace(0, 15, 4).round() / 10)
    clip = Patches(
        "video", "", torch.empty(0), (2, 2, 2), np.empty((4, 0)), 8, 8, "", 4, 2, 2, (), times,
        sampled_fps=4 / 16 * 10,
    )  # fmt: skip
    message = {"role": "user", "content": [{"type": "video"}]}
    sequence = build_sequence([message], [clip], Letters(), PLAIN)
    span = next(span for span in sequence.spans if span.media == 0)
    times = sequence.positions[0, span.start : span.stop]
    assert (times - times[0]).tolist() == [0, 1]
