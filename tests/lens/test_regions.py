"""Boxes and points: each family's own form, and text that only looks like one."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from vlm.families.checkpoint import open_config
from vlm.lens.regions import LONGEST, MOST, Region, find_regions
from vlm.records import Patches


def seen(width=1000, height=500, resized=(560, 280)) -> Patches:
    """A picture of which the model saw a smaller copy."""
    pixels = np.zeros((1, resized[1], resized[0], 3), np.uint8)
    return Patches("image", "a", None, (1, 20, 40), pixels, width, height, "", 14, 2, 2)


def regions(text: str, scale: int | None = 1000) -> list[Region]:
    return find_regions(text, seen(), scale)


def numbers(text: str, scale: int | None = 1000) -> list[tuple[float, ...]]:
    return [region.numbers for region in regions(text, scale)]


BOX = "<|object_ref_start|>the cat<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>"
JSON = '{"bbox_2d": [56, 28, 112, 56], "label": "cat"}'


def test_qwen2_vl():
    [box] = regions(f"I see {BOX}.")
    assert (box.kind, box.label, box.numbers) == ("box", "the cat", (100, 100, 300, 200))
    assert f"I see {BOX}."[box.start : box.stop] == BOX


def test_qwen2_5_vl_counts_pixels_of_what_it_saw():
    [box] = regions(f"```json\n[{JSON}]\n```", scale=None)
    assert (box.label, box.numbers) == ("cat", (100, 50, 200, 100))


def test_qwen3_vl_counts_thousandths():
    [box] = regions(f"```json\n[{JSON}]\n```")
    assert box.numbers == (56, 14, 112, 28)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("qwen2-vl-7b", 1000), ("qwen2.5-vl-7b", None), ("qwen3-vl-8b", 1000), ("tiny", 1000)],
)
def test_each_family_knows_its_scale(name, scale):
    assert open_config(name)[0].box_scale == scale


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"point_2d": [500, 250], "label": "eye"}', [(500, 125)]),
        ('[{"point_2d": [1, 2]}, {"point_2d": [3, 4]}]', [(1, 1), (3, 2)]),
        ("<|point_start|>(500,250)<|point_end|>", [(500, 125)]),
        ('<points x1="10" y1="20" x2="30" y2="40" alt="dots">dots</points>', [(10, 10), (30, 20)]),
        ('<point x="10.5" y="20" alt="dot">dot</point>', [(10.5, 10)]),
        ("<ref>a</ref><box>(0,0),(1000,1000)</box>", [(0, 0, 1000, 500)]),
        (BOX + " and " + BOX, [(100, 100, 300, 200)] * 2),
        ("<|box_start|>(1,2),(3,4),(5,6),(7,8)<|box_end|>", [(1, 1, 3, 2), (5, 3, 7, 4)]),
        ('{"bbox_2d": [[1, 2, 3, 4], [5, 6, 7, 8]]}', [(1, 1, 3, 2), (5, 3, 7, 4)]),
        ('{"objects": [{"bbox": [1, 2, 3, 4], "name": "x"}]}', [(1, 1, 3, 2)]),
        ("Sure! " + JSON + " is the cat, and " + JSON, [(56, 14, 112, 28)] * 2),
    ],
)
def test_forms(text, found):
    assert numbers(text) == found


def test_labels():
    assert [r.label for r in regions('<points x1="1" y1="2" alt="two  words">x</points>')] == ["two words"]
    assert [r.label for r in regions('{"point_2d": [1, 2], "text": "sign"}')] == ["sign"]
    assert [r.label for r in regions('{"bbox_2d": [1, 2, 3, 4], "label": "<img src=x>"}')] == ["<img src=x>"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"bbox_2d": [-50, -50, 5000, 5000]}', [(0, 0, 1000, 500)]),  # clamped
        ('{"bbox_2d": [300, 400, 100, 200]}', [(100, 100, 300, 200)]),  # corners the other way round
        ('{"point_2d": [1e6, -3]}', [(1000, 0)]),
        ("<|box_start|>(900,900),(1200,1200)<|box_end|>", [(900, 450, 1000, 500)]),
        (f"[{JSON}, " + '{"bbox_2d": [1, 2', [(56, 14, 112, 28)]),  # cut off: what is whole stays
        (f"[{JSON},, {JSON}]", [(56, 14, 112, 28)] * 2),  # wrong between them
        ('{"bbox_2d": "no", "point_2d": [1, 2]}', [(1, 1)]),
    ],
)
def test_mended(text, found):
    assert numbers(text) == found


MALFORMED = [
    "", " ", "[]", "{}", "[[]]", "[{}]", "null", "true", "0", "NaN", "{", "}", "[", "]", "{{", "}{", "[{]",
    '{"', '{"bbox_2d"', '{"bbox_2d":', '{"bbox_2d": [', '{"bbox_2d": [1, 2, 3, 4',
    '{"bbox_2d": [1, 2, 3, 4]', '{"bbox_2d": []}', '{"bbox_2d": [1]}', '{"bbox_2d": [1, 2, 3]}',
    '{"bbox_2d": [1, 2, 3, 4, 5]}', '{"bbox_2d": null}', '{"bbox_2d": "1,2,3,4"}', '{"bbox_2d": {"x": 1}}',
    '{"bbox_2d": [1, 2, 3, "4"]}', '{"bbox_2d": [1, 2, 3, null]}', '{"bbox_2d": [1, 2, 3, true]}',
    '{"bbox_2d": [NaN, 2, 3, 4]}', '{"bbox_2d": [1, 2, Infinity, 4]}', '{"bbox_2d": [1, 2, -Infinity, 4]}',
    '{"bbox_2d": [1e999, 2, 3, 4]}', '{"bbox_2d": [1, 2, 3, ' + "9" * 400 + "]}",
    '{"bbox_2d": [' + "9" * 5000 + ", 2, 3, 4]}", '{"bbox_2d": [5, 5, 5, 5]}',
    '{"bbox_2d": [2000, 0, 3000, 10]}', '{"bbox_2d": [-9, -9, -1, -1]}', "{'bbox_2d': [1, 2, 3, 4]}",
    "{bbox_2d: [1, 2, 3, 4]}", '{"bbox_2d": [1 2 3 4]}', '{"bbox_2d": [1,,2,3]}', '{"point_2d": [1]}',
    '{"point_2d": 5}', '{"point_2d": [[]]}', '{"point_2d": ["a", "b"]}', '{"point_2d": [1, []]}',
    '{"label": "cat"}', '{"bbox_3d": [1, 2, 3, 4, 5, 6, 7, 8, 9]}', "<|box_start|>",
    "<|box_start|><|box_end|>", "<|box_start|>(1,2)<|box_end|>", "<|box_start|>(1,2),(3<|box_end|>",
    "<|box_start|>(a,b),(c,d)<|box_end|>", "<|box_start|>1,2,3,4<|box_end|>", "(1,2),(3,4)",
    "<|box_end|>(1,2),(3,4)", "<|box_start|>(1,2),(3,4)", "<|box_start|>(,),(,)<|box_end|>",
    "<|box_start|>(1,2,3),(4,5,6)<|box_end|>", "<|box_start|>(" + "9" * 40 + ",1),(2,3)<|box_end|>",
    "<|point_start|><|point_end|>", "<ref>a</ref>", "<box></box>", "<points>", "<points x1=1 y1=2>",
    '<points x1="a" y1="b">', '<points x1="1">', '<points y1="1" x2="2">',
    '<points x1="' + "9" * 50 + '" y1="1">', "<point", '<point x="" y="">', "\x00\ud7ff{\u2028}",
    "{" * 3000, "[" * 3000, '{"a":' * 2000 + "1" + "}" * 2000, "<|box_start|>" * 500, "<ref>" * 500,
    "```json\n```",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_text_has_no_region_and_breaks_nothing(text):
    assert regions(text) == [] and regions(text, None) == []
    assert numbers(text + JSON)[-1:] in ([(56, 14, 112, 28)], [])  # what comes behind is at most left out


def test_there_are_many_malformed_inputs():
    assert len(set(MALFORMED)) >= 60


def test_any_damage_leaves_regions_inside_the_picture():
    rng, parts = (
        random.Random(0),
        [BOX, JSON, '<points x1="10" y1="20" alt="a">', "[1, 2", '"', "}", "(", "9" * 30],
    )
    for _ in range(400):
        text = "".join(rng.choice(parts) for _ in range(rng.randint(1, 8)))
        cut = rng.randrange(len(text) + 1)
        text = text[:cut] + rng.choice(["", "{", "\\", "<", ",", "\u202e"]) + text[cut + rng.randrange(4) :]
        for region in regions(text):
            xs, ys = region.numbers[::2], region.numbers[1::2]
            assert all(0 <= x <= 1000 for x in xs) and all(0 <= y <= 500 for y in ys)
            assert 0 <= region.start < region.stop <= len(text)


def test_long_answers_are_bounded_in_time_and_number():
    assert len(regions(JSON * 2000)) == MOST
    assert regions("x" * LONGEST + JSON) == []
    assert regions(json.dumps({"a" * 50: "<|box_start|>(" * 20_000})) == []


def test_a_clip_is_measured_in_its_frames():
    config, _ = open_config("qwen2.5-vl-7b")
    patches = replace(seen(), kind="video", resized=np.zeros((4, 280, 560, 3), np.uint8))
    [box] = find_regions(JSON, patches, config.box_scale)
    assert box.numbers == (100, 50, 200, 100)
