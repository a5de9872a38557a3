"""Where transformers 5.23 departs from Qwen's own code, and what we do there.

Each test fails when the reference changes, so that the departure is looked at again.
"""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from oracle import expect
from stages import our_patches, our_sequence
from talks import TALKS
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor


def _reference_positions(twin, talk, **extra):
    expected = expect(twin, talk)
    ids, config = expected.prompt.ids, twin.reference.config
    kinds = (ids == config.image_token_id).int() + 2 * (ids == config.video_token_id).int()
    grids = {}
    for kind in ("image", "video"):
        own = [medium.grid for medium in expected.media if medium.kind == kind]
        grids[f"{kind}_grid_thw"] = torch.tensor(own) if own else None
    positions, delta = twin.reference.model.get_rope_index(ids, kinds, **grids, **extra)
    return positions[:, 0], int(delta)


def _ours(twin, talk):
    sequence = our_sequence(twin, talk, our_patches(twin, talk))
    return sequence.positions, sequence.rope_delta


@pytest.mark.parametrize("talk", ["text", "image", "two_images", "wide", "tall"])
def test_agrees_without_video(twin, talk):
    positions, delta = _ours(twin, TALKS[talk])
    reference, reference_delta = _reference_positions(twin, TALKS[talk])
    assert torch.equal(positions, reference) and delta == reference_delta


@pytest.mark.parametrize("talk", ["odd_frames", "many_frames", "two_videos"])
@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl_moe"])
def test_agrees_on_timed_frames(twins, family, talk):
    twin = twins(family)
    assert torch.equal(_ours(twin, TALKS[talk])[0], _reference_positions(twin, TALKS[talk])[0])


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_1_text_after_a_video(twins, family):
    """Eight frame pairs of 2 × 2 cells: the video's ids reach further in time than in space.

    The reference goes on at start + max(h, w) // 2 and so gives later text ids that the video has.
    """
    twin, talk = twins(family), TALKS["many_frames"]
    positions, _ = _ours(twin, talk)
    reference, _ = _reference_positions(twin, talk)
    video = our_sequence(twin, talk, our_patches(twin, talk)).spans
    span = next(span for span in video if span.kind == "video")
    assert positions[0, span.stop] == positions[:, : span.stop].max() + 1
    assert reference[0, span.stop] == reference[0, span.start] + 2
    assert reference[0, span.stop] <= reference[:, : span.stop].max(), "the reference no longer overlaps"


def test_2_seconds_stay_a_fraction(twins):
    """0.7 fps: 2 ids a second × 2.857 seconds a pair = 5.71 ids a pair; truncated seconds would give 4."""
    twin, talk = twins("qwen2_5_vl"), TALKS["two_videos"]
    sequence = our_sequence(twin, talk, our_patches(twin, talk))
    first, second = [span for span in sequence.spans if span.kind == "video"]
    assert _times(sequence, first) == [0, 2, 4]
    assert _times(sequence, second) == [0, 5, 11]
    official = twin.reference.model.get_vision_position_ids(0, torch.tensor([4, 2, 2]), 1, 2, 2 * 2 / 0.7)[0]
    assert official.tolist() == [0, 5, 11, 17], "5.23 truncates only at the end"
    truncated = twin.reference.model.get_vision_position_ids(
        0, torch.tensor([4, 2, 2]), 1, 2, 2 * int(2 / 0.7)
    )
    assert truncated[0].tolist() == [0, 4, 8, 12], "what the releases that truncate the seconds give"


def _times(sequence, span):
    times = sequence.positions[0, span.start : span.stop]
    return sorted(set((times - times[0]).tolist()))


def test_3_no_outer_vision_marks(twins):
    """The reference keeps the template's own pair around the timed blocks: two tokens more a video."""
    twin, talk = twins("qwen3_vl"), TALKS["odd_frames"]
    expected, frames = expect(twin, talk), talk.videos[0]
    metadata = SimpleNamespace(fps=frames.source_fps, frames_indices=list(range(len(frames.pixels))))
    processor = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
        video_token="<|video_pad|>",
    )
    processor._calculate_timestamps = lambda *args: Qwen3VLProcessor._calculate_timestamps(processor, *args)
    grid = torch.tensor([expected.media[0].grid])
    inputs = {"video_grid_thw": grid, "video_metadata": [metadata]}
    block = Qwen3VLProcessor.replace_video_token(processor, inputs, 0)
    text = twin.tokenizer.apply_chat_template(talk.messages, tokenize=False, add_generation_prompt=True)
    theirs = twin.tokenizer.encode(text.replace("<|video_pad|>", block, 1))
    ours = _sequence_ids(twin, talk)
    start, end = (twin.tokenizer.convert_tokens_to_ids(f"<|vision_{edge}|>") for edge in ("start", "end"))
    assert len(theirs) == len(ours) + 2
    first = theirs.index(start)
    last = len(theirs) - 1 - theirs[::-1].index(end)
    del theirs[last], theirs[first]
    assert theirs == ours, "the rest of the prompt, times included, is the same"


def _sequence_ids(twin, talk):
    return our_sequence(twin, talk, our_patches(twin, talk)).ids.tolist()


@pytest.mark.parametrize(("pictures", "grids"), [((1,), (1,)), ((0, 1), (0, 1)), ((1,), (0, 1))])
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_4_a_new_picture_on_a_cache_is_refused(twins, family, pictures, grids):
    """However it is handed over; so the oracle of later turns is a full recompute (`stages.check_warm`)."""
    twin, talk = twins(family), TALKS["two_images"]
    expected = expect(twin, talk)
    ids = expected.prompt.ids
    kinds = (ids == twin.reference.config.image_token_id).int()
    pads = kinds[0].nonzero()[:, 0].tolist()
    cut = next(b for a, b in pairwise(pads) if b > a + 1) - 1  # before picture two

    def turn(stop, pixels, sizes, **more):
        return twin.reference.generate(
            input_ids=ids[:, :stop],
            attention_mask=torch.ones_like(ids[:, :stop]),
            mm_token_type_ids=kinds[:, :stop],
            pixel_values=torch.cat([expected.media[i].pixels for i in pixels]),
            image_grid_thw=torch.tensor([expected.media[i].grid for i in sizes]),
            max_new_tokens=1,
            do_sample=False,
            return_dict_in_generate=True,
            **more,
        )

    first = turn(cut, (0,), (0,))
    with pytest.raises((ValueError, RuntimeError, StopIteration, IndexError)):
        turn(None, pictures, grids, past_key_values=first.past_key_values)
