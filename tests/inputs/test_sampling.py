"""Which frames are sampled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from media_files import PIXELS

from vlm.inputs.sampling import MediaOptions, sample_frames, sampled_fps
from vlm.records import InputError

EVEN = dataclasses.replace(PIXELS, even_frames=True)


def _sample(total, source_fps, pixels=PIXELS, **options):
    return sample_frames(np.arange(total) / source_fps, source_fps, pixels, MediaOptions(**options)).tolist()


def test_a_rounded_linspace():
    assert _sample(20, 10) == [0, 6, 13, 19]
    assert _sample(30, 10) == [0, 6, 12, 17, 23, 29]


@pytest.mark.parametrize(
    ("total", "fps", "options", "count"),
    [
        (10, 10, {}, 4),  # not below min_frames
        (3, 10, {}, 3),  # nor above the clip
        (1, 10, {}, 1),
        (25, 10, {}, 5),
        (100_000, 10, {}, 768),
        (100, 10, {"fps": 1}, 10),
        (100, 10, {"fps": 100}, 100),
        (100, 10, {"max_frames": 7}, 7),
        (100, 10, {"max_frames": 2}, 2),  # a person's limit wins over min_frames
        (100, 10, {"num_frames": 1}, 1),
        (100, 10, {"num_frames": 9}, 9),
        (100, 10, {"num_frames": 500}, 100),
        (100, 10, {"start": 2, "end": 4}, 4),
    ],
)
def test_counts(total, fps, options, count):
    assert len(_sample(total, fps, **options)) == count


@pytest.mark.parametrize(("total", "options", "count"), [(25, {}, 4), (1, {}, 1), (3, {}, 2), (50, {}, 10)])
def test_even_counts(total, options, count):
    assert len(_sample(total, 10, EVEN, **options)) == count


def test_one_frame_asked_for_is_two_where_counts_are_even():
    assert len(_sample(50, 10, EVEN, num_frames=1)) == 2


def test_a_range():
    assert _sample(100, 10, start=2, end=2.3) == [20, 21, 22, 23]
    assert _sample(100, 10, start=9.8) == [98, 99]
    assert _sample(100, 10, start=50) == []


def test_a_range_between_two_frames_shows_the_one_on_screen():
    assert _sample(5, 0.1, start=12, end=15) == [1]


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0},
        {"fps": float("nan")},
        {"num_frames": 0},
        {"max_frames": -1},
        {"start": -1},
        {"start": 3, "end": 2},
        {"end": float("inf")},
    ],
)
def test_options_that_mean_nothing(options):
    with pytest.raises(InputError):
        MediaOptions(**options)


@pytest.mark.parametrize(("total", "source_fps"), [(9, 10), (16, 10), (100, 25), (61, 30)])
def test_the_sampled_rate_is_the_share_of_all_frames(total, source_fps):
    """qwen-vl-utils: ``sample_fps = nframes / max(total_frames, 1e-6) * video_fps``."""
    times = np.arange(total) / source_fps
    count = len(sample_frames(times, source_fps, EVEN, MediaOptions()))
    assert sampled_fps(count, times, source_fps, MediaOptions()) == pytest.approx(count / total * source_fps)


def test_the_sampled_rate_counts_only_the_chosen_range():
    times = np.arange(100) / 10
    assert sampled_fps(4, times, 10, MediaOptions(start=2, end=3.9)) == pytest.approx(4 / 20 * 10)
