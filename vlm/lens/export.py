"""What the instruments found, as files: PNG for people, CSV for spreadsheets, NPZ for NumPy."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from collections.abc import Sequence as Items
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image, ImageDraw

from vlm.lens.attention import Looks, medium_cells
from vlm.lens.compare import Side, figures
from vlm.lens.regions import Region
from vlm.lens.words import Word
from vlm.records import Patches, Sequence

# Dark to bright, even steps of lightness: also readable in grey and with any colour vision.
RAMP = np.array(((12, 8, 38), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)), float)
GAP = 12  # pixels between two pictures side by side
STRENGTH = 0.72  # of the colour over the picture where the map is highest; it fades with the map
HEADINGS = ("word", "text", "medium", "t", "row", "column", "attention", "usual")


def cell_map(sequence: Sequence, index: int, row: np.ndarray) -> np.ndarray:
    """One word's (V,) map as the (t, h, w) cells of one medium."""
    return row[medium_cells(sequence, index)].reshape(sequence.media[index].cells_thw)


def heat_picture(patches: Patches, cells: np.ndarray, step: int = 0, top: float | None = None) -> Image.Image:
    """A frame with its (h, w) cells coloured, at the size in which the model saw it.

    Args:
        step: which temporal patch of a clip. top: the value shown brightest; the largest where not given.
    """
    frame = _frame(patches, step)
    top = top or float(cells.max()) or 1.0
    share = np.clip(cells / top, 0, 1)
    size = frame.shape[1], frame.shape[0]
    mask = Image.fromarray((255 * STRENGTH * np.sqrt(share)).astype(np.uint8)).resize(size, Image.NEAREST)
    colours = Image.fromarray(ramp(share)).resize(size, Image.NEAREST)
    return Image.composite(colours, Image.fromarray(frame), mask)


def ramp(share: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 → (…, 3) uint8 colours."""
    places = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(share, places, RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def region_picture(
    patches: Patches, regions: Items[Region], step: int = 0, original: Image.Image | None = None
) -> Image.Image:
    """The boxes and points of an answer on the original picture, at its size.

    Args:
        original: from `vlm.lens.original.original_picture`; None draws on a frame as the model saw it.
    """
    picture = original.copy() if original else Image.fromarray(_frame(patches, step))
    scale = picture.width / patches.width, picture.height / patches.height
    thick = max(2, round(max(picture.size) / 300))
    draw = ImageDraw.Draw(picture)
    for region in regions:
        numbers = [value * scale[i % 2] for i, value in enumerate(region.numbers)]
        if region.kind == "point":
            x, y = numbers
            reach = 2 * thick
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), "crimson", "white", thick)
        else:
            draw.rectangle(numbers, outline="crimson", width=thick)
        if region.label:
            where, edge = (
                (numbers[0] + 2 * thick, numbers[1] + thick),
                {"stroke_width": 2, "stroke_fill": "white"},
            )
            draw.text(where, region.label, fill="crimson", font_size=max(10, 6 * thick), **edge)
    return picture


def _frame(patches: Patches, step: int) -> np.ndarray:
    """The first frame of a temporal patch."""
    return patches.resized[min(step * patches.temporal_patch_size, len(patches.resized) - 1)]


def write_csv(file: TextIO, sequence: Sequence, words: Items[Word], looks: Looks) -> None:
    """A line a word and cell under `HEADINGS`; ``attention`` and ``usual`` are shares of 1."""
    writer = csv.writer(file)
    writer.writerow(HEADINGS)
    writer.writerows(_lines(sequence, words, looks))


def _lines(sequence: Sequence, words: Items[Word], looks: Looks) -> Iterator[tuple]:
    cells = [
        (patches.name, t, row, column)
        for patches in sequence.media
        for t, row, column in np.ndindex(patches.cells_thw)
    ]
    for number, (word, shares) in enumerate(zip(words, looks.maps.tolist(), strict=True)):
        for cell, share, usual in zip(cells, shares, looks.usual.tolist(), strict=True):
            yield (number, _no_formula(word.text), *map(_no_formula, cell), f"{share:.6g}", f"{usual:.6g}")


def _no_formula(value: object) -> object:
    """Text as a spreadsheet takes it for text: words and file names are other people's."""
    return f"'{value}" if isinstance(value, str) and value.lstrip()[:1] in ("=", "+", "-", "@") else value


def write_npz(path: Path, sequence: Sequence, words: Items[Word], looks: Looks) -> None:
    """``maps`` (N, V), ``usual`` (V,), ``shares`` (L, H, N), ``layers`` (L, V), ``sinks``, ``words`` (N,),
    ``cells`` (media, 3) as (t, h, w), ``media`` their names."""
    np.savez_compressed(path, **_arrays(sequence, words, looks))


def _arrays(sequence: Sequence, words: Items[Word], looks: Looks) -> dict[str, np.ndarray]:
    return {
        "maps": looks.maps,
        "usual": looks.usual,
        "shares": looks.shares,
        "layers": looks.layers,
        "sinks": looks.sinks,
        "words": np.array([word.text for word in words]),
        "cells": np.array([patches.cells_thw for patches in sequence.media]),
        "media": np.array([patches.name for patches in sequence.media]),
    }


# ---- two settings side by side ----------------------------------------------------------------------
def sides_picture(sides: Items[Side], words: Items[int], step: int = 0) -> Image.Image:
    """The last medium of each side with the map of one of its words, all as high as the highest.

    Args:
        words: of each side the number of the word. step: which temporal patch of a clip, the last one where
            a side has fewer.
    """
    pictures = [_side_picture(side, word, step) for side, word in zip(sides, words, strict=True)]
    high = max(picture.height for picture in pictures)
    pictures = [picture.resize((round(picture.width * high / picture.height), high)) for picture in pictures]
    sheet = Image.new(
        "RGB", (sum(picture.width for picture in pictures) + GAP * (len(sides) - 1), high), "white"
    )
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def _side_picture(side: Side, word: int, step: int) -> Image.Image:
    *_, patches = side.trace.sequence.media
    step = min(step, patches.cells_thw[0] - 1)
    if side.looks is None:
        return Image.fromarray(_frame(patches, step))
    cells = cell_map(side.trace.sequence, len(side.trace.sequence.media) - 1, side.looks.maps[word])
    return heat_picture(patches, cells[step], step)


def write_sides_csv(file: TextIO, sides: Items[Side]) -> None:
    """A line a figure and last the answers, a column a side; see `vlm.lens.compare.figures`."""
    writer, found = csv.writer(file), [figures(side) for side in sides]
    writer.writerow(["", *(_no_formula(side.label) for side in sides)])
    writer.writerows([name, *(_no_formula(one[name]) for one in found)] for name in found[0])
    writer.writerow(["Answer", *(_no_formula(side.trace.answer) for side in sides)])


def write_sides_npz(path: Path, sides: Items[Side]) -> None:
    """What `write_npz` keeps, of every side that was looked at: ``maps_0`` is the first one's, and so on."""
    arrays = {
        f"{name}_{number}": array
        for number, side in enumerate(sides)
        if side.looks
        for name, array in _arrays(side.trace.sequence, side.words, side.looks).items()
    }
    np.savez_compressed(path, **arrays)
