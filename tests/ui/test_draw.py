"""What the panels draw agrees with the records."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ui.draw import (
    data_uri,
    frame_starts,
    grid_data,
    position_data,
    run_data,
    short_number,
    stages,
    timing,
    token_data,
)


def numbers(text: str) -> list[int]:
    return np.frombuffer(base64.b64decode(text), "<i4").tolist()


def test_every_panel_value_is_plain_data(run):
    for make in (grid_data, position_data, token_data, run_data):
        assert json.loads(json.dumps(make(run))) == make(run)


def test_first_tokens_of_every_temporal_patch(trace):
    assert frame_starts(trace.sequence, 0) == [2]
    assert frame_starts(trace.sequence, 1) == [10, 13]


def test_one_span_with_many_temporal_patches(trace):
    """Qwen2-VL lays a whole clip out as one span."""
    spans = (*trace.sequence.spans[:3], replace(trace.sequence.spans[3], stop=14, cells=(2, 1, 2)))
    assert frame_starts(replace(trace.sequence, spans=spans), 1) == [10, 12]


def test_cells_know_their_positions_and_boxes(run, trace):
    picture, clip = grid_data(run)["media"]
    first = picture["frames"][0]
    assert [numbers(axis) for axis in first["positions"]] == trace.sequence.positions[:, 2:8].tolist()
    assert picture["xs"] == [0, 100, 200, 300]
    assert picture["ys"] == [0, 50, 100]
    patches = trace.sequence.media[0]
    assert patches.cell_box(1, 2) == (picture["xs"][2], picture["ys"][1], picture["xs"][3], picture["ys"][2])
    assert [frame["start"] for frame in clip["frames"]] == [10, 13]
    assert [frame["time"] for frame in clip["frames"]] == [0.5, 1.5]


def test_an_odd_frame_is_shown_once(run):
    """Three frames fill two temporal patches; the model repeats the last, the panel does not."""
    clip = grid_data(run)["media"][1]
    assert [len(frame["images"]) for frame in clip["frames"]] == [2, 1]
    assert [frame["times"] for frame in clip["frames"]] == [[0.0, 1.0], [2.0]]


def test_the_newest_medium_is_picked(run):
    assert grid_data(run)["pick"] == position_data(run)["pick"] == 1


def test_positions_cover_the_sequence(run, trace):
    data = position_data(run)
    assert [numbers(data[axis]) for axis in "thw"] == trace.sequence.positions.tolist()
    assert len(data["tokens"]) == len(trace.sequence) == 20
    assert data["spans"][1] == ["image", 2, 8]
    assert data["rope_delta"] == trace.sequence.rope_delta
    assert data["axes"] == "thwthwt"


def test_attention_windows_where_the_tower_has_them(run):
    assert grid_data(run)["windows"] is None
    facts = replace(run.facts, window_cells=4, full_attention=(7, 15), tower_blocks=32)
    assert grid_data(replace(run, facts=facts))["windows"] == {"cells": 4, "full": [7, 15], "blocks": 32}


def test_totals_by_kind(run):
    data = token_data(run)
    assert dict(data["kinds"]) == {"text": 5, "special": 3, "image": 6, "video": 4, "answer": 2}
    assert sum(count for _, count in data["kinds"]) == data["total"] == 20
    assert data["context"] == 4096


def test_arithmetic_of_a_medium(run):
    picture = token_data(run)["media"][0]
    assert picture["original"] == [300, 100]
    assert picture["seen"] == [96, 64]
    assert picture["grid"] == [1, 4, 6]
    assert picture["tokens"] == 1 * 4 * 6 // picture["merge"] ** 2 == 6


def test_a_chat_without_media(run, trace):
    text_only = replace(trace, sequence=replace(trace.sequence, media=(), spans=trace.sequence.spans[:1]))
    text_only = replace(run, trace=text_only)
    assert grid_data(text_only)["media"] == token_data(text_only)["media"] == []


def test_what_a_medium_costs_elsewhere_stands_beside_it(run):
    rows = [{"family": "Qwen2-VL", "tokens": 64}]
    picture, clip = token_data(replace(run, elsewhere=(rows,)))["media"]
    assert (picture["elsewhere"], clip["elsewhere"]) == (rows, None)


def test_stages_of_a_turn():
    stats = {
        "media_ms": 3.0,
        "encode_ms": 12.34,
        "prefill_ms": 5.0,
        "answer_tokens": 11,
        "decode_tokens_per_s": 100,
    }
    assert stages(stats) == [["files", 3.0], ["vision", 12.3], ["prompt", 5.0], ["answer", 100.0]]
    assert stages({"encode_ms": 0.0}) == []


def test_timing_leaves_out_what_was_not_measured(trace):
    shown = {label: value for label, value, _ in timing(trace.stats)}
    assert shown == {
        "First token": "63.4 ms",
        "Writing": "152 tokens/s",
        "Reused": "0 tokens",
        "KV cache": "3.0 MiB",
        "Device": "cpu",
    }


@pytest.mark.parametrize(("value", "words"), [(950, "950"), (4_321_000, "4.3 M"), (8_290_000_000, "8.3 B")])
def test_short_numbers(value, words):
    assert short_number(value) == words


@pytest.mark.parametrize(("size", "kind"), [((40, 60), "PNG"), ((900, 1200), "JPEG")])
def test_pictures_are_sent_no_larger_than_asked(size, kind):
    uri = data_uri(np.zeros((*size, 3), np.uint8), 600)
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.format == kind
    assert max(image.size) == min(600, max(size))
