"""Mistakes with positions, times, masks and caches, each as a change that can be put in for one test.

A mistake takes pytest's monkeypatch and a twin; `test_mistakes.py` says which comparison must see it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from vlm.inputs import patches, positions, sequence
from vlm.models import attention, decoder, rope
from vlm.models.decoder import Decoder


def text_after_video_overlaps(patch, twin):
    """The reference's rule: start + max(h, w), however long the video is."""

    def ids(spans, seconds_to_ids=None, seconds=()):
        parts, start = [], 0
        for span in spans:
            block = torch.arange(len(span)).expand(3, -1)
            if span.cells:
                step = (
                    seconds_to_ids * seconds[span.media] if seconds_to_ids and span.kind == "video" else 1.0
                )
                block = positions.grid_positions(span.cells, step)
            parts.append(block + start)
            start += max(span.cells[1:]) if span.cells else len(span)
        return torch.cat(parts, dim=1), int(parts[-1].max()) + 1 - sum(len(span) for span in spans)

    patch.setattr(sequence, "mrope_positions", ids)


def times_all_zero(patch, twin):
    original = positions.grid_positions
    patch.setattr(positions, "grid_positions", lambda cells, step=1.0: original(cells, 0.0))


def seconds_truncated(patch, twin):
    original = sequence._seconds_per_patch
    patch.setattr(sequence, "_seconds_per_patch", lambda own: original(own) and float(int(original(own))))


def interval_truncated(patch, twin):
    original = positions.grid_positions
    patch.setattr(positions, "grid_positions", lambda cells, step=1.0: original(cells, int(step)))


def image_times_scaled(patch, twin):
    """The start counts as time too: (start + t) × tokens_per_second."""
    original = sequence.mrope_positions

    def ids(spans, seconds_to_ids=None, seconds=()):
        placed, delta = original(spans, seconds_to_ids, seconds)
        placed = placed.clone()
        for span in spans:
            if span.kind == "image":
                placed[0, span.start : span.stop] *= int(seconds_to_ids or 1)
        return placed, delta

    patch.setattr(sequence, "mrope_positions", ids)


def delta_of_an_earlier_chat(patch, twin):
    """The delta lives on the model: the first chat's stays."""
    kept: list[int] = []
    original = sequence.build_sequence

    def build(*args, **options):
        built = original(*args, **options)
        kept.append(built.rope_delta)
        return replace(built, rope_delta=kept[0])

    patch.setattr(sequence, "build_sequence", build)


def position_is_cache_length(patch, twin):
    """On a cache, ids count on from its length."""
    original = Decoder.forward

    def forward(self, x, ids, *, cache=None, **options):
        if cache is not None and cache.length:
            ids = torch.arange(cache.length, cache.length + x.shape[1]).expand(3, 1, -1)
        return original(self, x, ids, cache=cache, **options)

    patch.setattr(Decoder, "forward", forward)


def swapped_rows_and_columns(patch, twin):
    original = positions.grid_positions
    patch.setattr(positions, "grid_positions", lambda *args: original(*args)[[0, 2, 1]])


def mrope_layout(patch, twin):
    """Blocked for interleaved, and the other way round."""
    original = decoder.mrope_axes
    patch.setattr(decoder, "mrope_axes", lambda section, interleaved: original(section, not interleaved))


def rotary_in_bfloat16(patch, twin):
    original = rope.mrope_table

    def rounded(ids, frequencies, axes):
        return tuple(table.bfloat16().float() for table in original(ids, frequencies, axes))

    patch.setattr(decoder, "mrope_table", rounded)


def frequencies_in_bfloat16(patch, twin):
    original = rope.inverse_frequencies
    patch.setattr(decoder, "inverse_frequencies", lambda *args: original(*args).bfloat16().float())


def timestamps_of_first_frame(patch, twin):
    patch.setattr(patches, "_patch_times", lambda times, temporal: times[::temporal])


def timestamps_of_other_frames(patch, twin):
    """The times of a clip that was sampled once more: frame numbers over a default rate."""
    original = patches._patch_times
    frames = lambda times: tuple(index / 24 for index in range(len(times)))  # noqa: E731
    patch.setattr(patches, "_patch_times", lambda times, temporal: original(frames(times), temporal))


def mask_from_positions(patch, twin):
    """Who may look is read off the temporal ids: the cells of a picture all see each other."""
    original = Decoder.forward

    def forward(self, x, ids, *, mask=None, **options):
        times = ids[0, 0]
        return original(self, x, ids, mask=(times[:, None] >= times[None])[None, None], **options)

    patch.setattr(Decoder, "forward", forward)


def mask_top_left(patch, twin):
    def mask(queries, keys, device=None):
        return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()

    patch.setattr(attention, "causal_mask", mask)
    patch.setattr(attention, "_causal_bias", attention._causal_bias.__wrapped__)  # the right one is kept
