"""M-RoPE ids by hand; the comparison with Qwen's rule over whole prompts is in tests/parity."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest

from vlm.inputs.positions import grid_positions, mrope_positions
from vlm.records import Span


def _spans(*sizes):
    """Ints are text; grids are pictures, or videos where marked."""
    spans, start = [], 0
    for media, size in enumerate(sizes):
        kind, cells = ("text", None) if isinstance(size, int) else size
        count = size if cells is None else cells[0] * cells[1] * cells[2]
        spans.append(Span(kind, start, start + count, cells, None if cells is None else media))
        start += count
    return spans


def test_text_counts_on_all_axes():
    positions, delta = mrope_positions(_spans(3))
    assert positions.tolist() == [[0, 1, 2]] * 3 and delta == 0


def test_a_picture_between_texts():
    positions, delta = mrope_positions(_spans(2, ("image", (1, 2, 3)), 2), 2, [None] * 3)
    assert positions[0].tolist() == [0, 1, *[2] * 6, 5, 6]
    assert positions[1].tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 5, 6]
    assert positions[2].tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6]
    assert delta == 7 - 10


def test_text_after_a_long_video_starts_behind_it():
    """Five frame pairs of 2 × 2: times reach 4, space only 1; Qwen goes on at 5."""
    positions, delta = mrope_positions(_spans(("video", (5, 2, 2)), 1))
    assert positions[:, -1].tolist() == [5, 5, 5] and delta == 6 - 21


def test_seconds_scale_times_of_videos_only():
    spans = _spans(("video", (3, 1, 1)), ("image", (1, 1, 1)))
    positions, _ = mrope_positions(spans, 2.0, [2.857, None])
    assert positions[0].tolist() == [0, 5, 11, 12]


RATES = [
    Fraction(n, d) for n, d in ((1, 3), (1, 2), (7, 10), (1, 1), (2, 1), (3, 1), (5, 1), (10, 1), (24, 1))
]


@pytest.mark.parametrize("fps", [*RATES, Fraction(30_000, 1_001)], ids=str)
def test_decoded_times_do_not_fall_below_a_whole_id(fps):
    """5 × 0.7999999999999999 must be 4: seconds come as differences of rounded times."""
    for frames in range(2, 200, 6):
        times = [float(index / fps) for index in range(frames)]
        seconds = 2 * (times[-1] - times[0]) / (frames - 1)
        found = grid_positions((frames // 2, 1, 1), 2 * seconds)[0].tolist()
        assert found == [floor(index * 4 / fps) for index in range(frames // 2)]
