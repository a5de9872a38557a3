"""The comparisons must be able to fail: each known mistake is put in, and its comparison must see it.

`README.md` has the same list in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import mistakes_ids as ids
import mistakes_pixels as pixels
import mistakes_tower as tower
import pytest
from stages import (
    check_answer,
    check_logits,
    check_patches,
    check_sequence,
    check_tower,
    check_warm,
    our_run,
)
from talks import TALKS

from vlm.models import decoder as decoders
from vlm.models import tower as towers

QWEN2, QWEN25, QWEN3, MOE = "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"
OLD, NEW, ALL = (QWEN2, QWEN25), (QWEN3, MOE), (QWEN2, QWEN25, QWEN3, MOE)


def check_chunks(twin, talk):
    check_logits(twin, talk, 7)


def check_after_picture(twin, talk):
    """A text-only chat in a process that had a chat about a picture."""
    our_run(twin, TALKS["image"])
    check_answer(twin, talk)


@dataclass(frozen=True)
class Case:
    """A mistake, where it matters, and the comparison whose message must begin with ``stage``."""

    mistake: Callable
    families: tuple[str, ...]
    talk: str
    check: Callable
    stage: str


CASES = [
    Case(ids.text_after_video_overlaps, OLD, "many_frames", check_sequence, "positions"),
    Case(ids.text_after_video_overlaps, OLD, "many_frames", check_logits, "logits"),
    Case(ids.times_all_zero, OLD, "many_frames", check_sequence, "positions: the t ids"),
    Case(ids.seconds_truncated, (QWEN25,), "two_videos", check_sequence, "positions: the t ids"),
    Case(ids.interval_truncated, (QWEN25,), "two_videos", check_sequence, "positions: the t ids"),
    Case(ids.image_times_scaled, (QWEN25,), "two_images", check_sequence, "positions: the t ids"),
    Case(ids.delta_of_an_earlier_chat, ALL, "text", check_after_picture, "answer"),
    Case(ids.position_is_cache_length, ALL, "second_turn", check_warm, "warm turn"),
    Case(ids.position_is_cache_length, ALL, "image", check_answer, "answer"),
    Case(ids.swapped_rows_and_columns, ALL, "image", check_sequence, "positions"),
    Case(ids.mrope_layout, ALL, "image", check_logits, "logits"),
    Case(ids.rotary_in_bfloat16, ALL, "text", check_logits, "logits"),
    Case(ids.frequencies_in_bfloat16, ALL, "many_frames", check_logits, "logits"),
    Case(ids.timestamps_of_first_frame, NEW, "odd_frames", check_sequence, "sequence"),
    Case(ids.timestamps_of_other_frames, NEW, "odd_frames", check_sequence, "sequence"),
    Case(ids.mask_from_positions, ALL, "image", check_logits, "logits"),
    Case(ids.mask_top_left, ALL, "text", check_chunks, "logits"),
    Case(ids.mask_top_left, ALL, "second_turn", check_warm, "warm turn"),
    Case(tower.windows_not_inverted, (QWEN25,), "image", check_tower, "tower"),
    Case(tower.windows_ignore_the_edge, (QWEN25,), "image", check_tower, "tower"),
    Case(tower.full_attention_read_as_strings, (QWEN25,), "image", check_tower, "tower"),
    Case(tower.no_windows, (QWEN25,), "image", check_tower, "tower"),
    Case(tower.attention_across_frames, ALL, "odd_frames", check_tower, "tower"),
    Case(tower.attention_across_media, ALL, "two_images", check_tower, "tower"),
    Case(tower.rotary_in_raster_order, ALL, "image", check_tower, "tower"),
    Case(tower.vision_rotary_in_bfloat16, ALL, "image", check_tower, "tower"),
    Case(tower.table_in_raster_order, NEW, "image", check_tower, "tower"),
    Case(tower.table_corners_not_aligned, NEW, "image", check_tower, "tower"),
    Case(tower.table_in_bfloat16, NEW, "image", check_tower, "tower"),
    Case(tower.deepstack_dropped, NEW, "image", check_logits, "logits"),
    Case(tower.deepstack_one_layer_late, NEW, "image", check_logits, "logits"),
    Case(tower.deepstack_misaligned_in_chunks, NEW, "image", check_chunks, "logits"),
    Case(tower.deepstack_lost_on_a_cache, NEW, "image", check_chunks, "logits"),
    Case(tower.deepstack_lost_on_a_cache, NEW, "second_turn", check_warm, "warm turn"),
    Case(tower.tap_normed_before_shuffle, NEW, "image", check_tower, "tower, DeepStack tap 0"),
    Case(pixels.resized_twice, ALL, "image", check_patches, "patches of image 0"),
    Case(pixels.factor_28_for_all, NEW, "image", check_patches, "patches of image 0: grid"),
    Case(pixels.bilinear, ALL, "image", check_patches, "patches of image 0"),
    Case(pixels.bilinear, ALL, "odd_frames", check_patches, "patches of video 0"),
    Case(pixels.no_antialias, ALL, "image", check_patches, "patches of image 0"),
    Case(pixels.no_antialias, ALL, "odd_frames", check_patches, "patches of video 0"),
    Case(pixels.sampled_twice, ALL, "many_frames", check_patches, "patches of video 0: grid"),
    Case(pixels.last_frame_dropped, ALL, "odd_frames", check_patches, "patches of video 0: grid"),
    Case(pixels.last_frame_dropped, ALL, "one_frame", check_patches, "patches of video 0: grid"),
    Case(pixels.filled_with_black, ALL, "odd_frames", check_patches, "patches of video 0"),
    Case(pixels.wrong_mean, ALL, "image", check_patches, "patches of image 0"),
    Case(pixels.patches_in_raster_order, ALL, "image", check_patches, "patches of image 0"),
    Case(pixels.patches_in_raster_order, ALL, "odd_frames", check_patches, "patches of video 0"),
    Case(pixels.head_not_tied, (QWEN2, QWEN3), "text", check_logits, "logits"),
    Case(pixels.head_tied_when_it_is_not, (QWEN25, MOE), "text", check_logits, "logits"),
    Case(pixels.head_norm_left_out, NEW, "text", check_logits, "logits"),
    Case(pixels.exact_gelu_for_quick, (QWEN2,), "image", check_tower, "tower"),
    Case(pixels.exact_gelu_for_tanh, NEW, "image", check_tower, "tower"),
    Case(pixels.keys_of_the_wrong_head, ALL, "text", check_logits, "logits"),
    Case(pixels.experts_not_normalised, (MOE,), "text", check_logits, "logits"),
]
EACH = [(case, family) for case in CASES for family in case.families]


@pytest.mark.parametrize(
    ("case", "family"), EACH, ids=[f"{c.mistake.__name__}-{c.talk}-{f}" for c, f in EACH]
)
def test_mistake_is_seen(case, family, twins, monkeypatch):
    twin, talk = twins(family), TALKS[case.talk]
    case.check(twin, talk)  # right as it stands
    for room, kept in ((towers, "layouts"), (decoders, "_rotary")):  # or the right ones are used again
        monkeypatch.setattr(room, kept, getattr(room, kept).__wrapped__)
    case.mistake(monkeypatch, twin)
    with pytest.raises(AssertionError, match=rf"^{re.escape(case.stage)}"):
        case.check(twin, talk)


def test_every_mistake_is_tried():
    written = {
        value
        for module in (ids, pixels, tower)
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and value.__module__ == module.__name__
    }
    assert written == {case.mistake for case in CASES}
