"""Boxes and points in an answer: parsed without trust, clamped, in pixels of the original picture.

Forms, from the families' own documentation: control tokens or tags,
``<|object_ref_start|>a cat<|object_ref_end|><|box_start|>(x0,y0),(x1,y1)<|box_end|>`` and
``<ref>…</ref><box>…</box>``; JSON, ``{"bbox_2d": [x0, y0, x1, y1], "label": "a cat"}`` and
``{"point_2d": [x, y]}``, in a list or not, fenced or not; ``<points x1="…" y1="…" alt="…">``. A model's
config says whether its numbers are thousandths of the picture or pixels of what it saw.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vlm.records import Patches

MOST = 300  # regions of one answer; what comes behind is not drawn
LONGEST = 20_000  # characters that are looked at
DEEPEST = 8  # lists and objects inside each other

_REF = r"(?:<\|object_ref_start\|>|<ref>)(?P<label>.{0,200}?)(?:<\|object_ref_end\|>|</ref>)\s*"
_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{0,9})?)\s*"
_PAIR = rf"\({_NUMBER},{_NUMBER}\)"
_TOKENS = re.compile(
    rf"(?:{_REF})?(?P<open><\|(?:box|point)_start\|>|<(?:box|point)>)"
    r"(?P<body>[^<]{1,400})(?:<\|(?:box|point)_end\|>|</(?:box|point)>)",
    re.DOTALL,
)
_PAIRS = re.compile(_PAIR)
_POINTS = re.compile(r"<points?\s(?P<body>[^<>]{1,2000})>(?P<text>[^<]{0,200})", re.DOTALL)
_ATTRIBUTE = re.compile(r"\b([xy])(\d{0,3})\s*=\s*[\"']" + _NUMBER + r"[\"']")
_ALT = re.compile(r"\balt\s*=\s*\"([^\"]{0,200})\"|\balt\s*=\s*'([^']{0,200})'")


@dataclass(frozen=True)
class Region:
    """A place that an answer names.

    ``numbers`` are pixels of the upright original, clamped to it: (left, top, right, bottom) of a box, (x, y)
    of a point. ``start`` and ``stop`` say which characters of the raw answer wrote it.
    """

    kind: Literal["box", "point"]
    numbers: tuple[float, ...]
    label: str
    start: int
    stop: int


def find_regions(answer: str, patches: Patches, scale: int | None) -> list[Region]:
    """Every box and point of an answer, in order; whatever cannot be read as one is left to the text.

    Args:
        answer: raw, with its control tokens (`vlm.lens.words.raw_answer`).
        patches: the picture or clip that the answer is about.
        scale: the range of the numbers, 1000 for thousandths; None for pixels of the resized picture.
    """
    answer = answer[:LONGEST]
    height, width = patches.resized.shape[1:3]
    across, down = (scale, scale) if scale else (width, height)
    size = patches.width / across, patches.height / down
    found: list[Region] = []
    for kind, numbers, label, start, stop in sorted(_written(answer), key=lambda item: item[3]):
        clamped = _clamped(kind, numbers, size, patches)
        if clamped is not None and len(found) < MOST:
            found.append(Region(kind, clamped, " ".join(label.split())[:200], start, stop))
    return found


Written = tuple[str, tuple[float, ...], str, int, int]  # kind, numbers, label, start, stop


def _written(answer: str) -> Iterator[Written]:
    yield from _in_tokens(answer)
    yield from _in_tags(answer)
    yield from _in_json(answer)


def _in_tokens(answer: str) -> Iterator[Written]:
    for match in _TOKENS.finditer(answer):
        pairs = [(float(x), float(y)) for x, y in _PAIRS.findall(match["body"])]
        label, where = match["label"] or "", match.span()
        if "box" in match["open"]:
            for (x0, y0), (x1, y1) in zip(pairs[::2], pairs[1::2], strict=False):
                yield "box", (x0, y0, x1, y1), label, *where
        else:
            for pair in pairs:
                yield "point", pair, label, *where


def _in_tags(answer: str) -> Iterator[Written]:
    for match in _POINTS.finditer(answer):
        numbers: dict[str, dict[str, float]] = {"x": {}, "y": {}}
        for axis, index, value in _ATTRIBUTE.findall(match["body"]):
            numbers[axis][index] = float(value)
        named = _ALT.search(match["body"])
        label = (named[1] or named[2] or "") if named else match["text"]
        for index, x in numbers["x"].items():
            if index in numbers["y"]:
                yield "point", (x, numbers["y"][index]), label, *match.span()


def _in_json(answer: str) -> Iterator[Written]:
    """Objects with a box or point, also of a list that breaks off or is wrong elsewhere."""
    reader, place = json.JSONDecoder(), 0
    while (place := answer.find("{", place)) >= 0:
        try:
            value, stop = reader.raw_decode(answer, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        yield from ((*item, place, stop) for item in _in_value(value, 0))
        place = stop


def _in_value(value: object, depth: int) -> Iterator[tuple[str, tuple[float, ...], str]]:
    if depth > DEEPEST:
        return
    if isinstance(value, list):
        for item in value:
            yield from _in_value(item, depth + 1)
    elif isinstance(value, dict):
        label = next((value[key] for key in ("label", "name", "text") if isinstance(value.get(key), str)), "")
        for kind, keys, count in (("box", ("bbox_2d", "bbox"), 4), ("point", ("point_2d", "point"), 2)):
            key = next((key for key in keys if key in value), None)
            for numbers in _rows(value.get(key), count):
                yield kind, numbers, label
        for item in value.values():
            if isinstance(item, list | dict):
                yield from _in_value(item, depth + 1)


def _rows(value: object, count: int) -> Iterator[tuple[float, ...]]:
    """One run of ``count`` numbers, or several in a list."""
    if not isinstance(value, list):
        return
    if len(value) == count and all(_is_number(item) for item in value):
        yield tuple(float(item) for item in value)
    else:
        for item in value:
            if isinstance(item, list) and len(item) == count and all(_is_number(part) for part in item):
                yield tuple(float(part) for part in item)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 10**9 and math.isfinite(value)  # in this order: a huge int has no float


def _clamped(
    kind: str, numbers: tuple[float, ...], size: tuple[float, float], patches: Patches
) -> tuple[float, ...] | None:
    """In the original's pixels; None for a box of which nothing lies in the picture."""
    limits = (patches.width, patches.height)
    placed = [min(max(value * size[i % 2], 0.0), float(limits[i % 2])) for i, value in enumerate(numbers)]
    if kind == "point":
        return tuple(placed)
    (left, right), (top, bottom) = sorted(placed[::2]), sorted(placed[1::2])
    return (left, top, right, bottom) if left < right and top < bottom else None
