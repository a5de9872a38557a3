"""Samples → one batch of tensors, many questions to a picture, none of which sees another.

A row is a prefix (the picture) and segments (questions or dialogues) behind it. A segment sees the prefix
and itself, and its positions restart where the prefix ends, so each is exactly what a chat would be.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vlm.config import ModelConfig
from vlm.inputs.sequence import build_sequence, user_message
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.grid import Grid
from vlm.records import Patches

IGNORE = -100
Prefix = tuple[tuple[int, ...], Tensor, Tensor]  # ids, positions (3, T'), columns of the vision tokens


@dataclass(frozen=True)
class Turn:
    """One question and its answer; ``kind`` names the skill for the evaluation."""

    kind: str
    question: str
    answer: str


@dataclass(frozen=True)
class Segment:
    """A dialogue of one or more turns; ``blind`` ones do not see the picture at all."""

    turns: tuple[Turn, ...]
    blind: bool = False


@dataclass(frozen=True)
class Earlier:
    """A turn that came before: maybe about another picture, maybe mere talk (``patches`` None)."""

    turn: Turn
    patches: Patches | None = None
    cells: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A picture or clip, cut, with the segments asked about it and the truth of its merged cells.

    ``earlier`` turns stand before it, so that a model learns to answer about the latest picture.
    """

    patches: Patches
    segments: tuple[Segment, ...]
    cells: dict[str, np.ndarray] = field(default_factory=dict)
    earlier: tuple[Earlier, ...] = ()

    @property
    def media(self) -> list[Patches]:
        """All pictures of the row, in the order of the prompt."""
        return [*(turn.patches for turn in self.earlier if turn.patches), self.patches]

    @property
    def all_cells(self) -> list[dict[str, np.ndarray]]:
        return [*(turn.cells for turn in self.earlier if turn.patches), self.cells]


@dataclass
class Answer:
    """Where one answer lies in a batch: ``row`` and target columns ``start`` … ``stop``."""

    kind: str
    row: int
    start: int
    stop: int


@dataclass
class Batch:
    pixels: Tensor  # (P, patch_dim)
    grids: tuple[Grid, ...]
    ids: Tensor  # (B, T)
    targets: Tensor  # (B, T): the next token where it is an answer's, else IGNORE
    positions: Tensor  # (3, B, T)
    mask: Tensor  # (B, 1, T, T) bool
    vision_rows: Tensor  # (V,) into the flattened B * T tokens
    answers: list[Answer]
    cells: dict[str, Tensor]

    def to(self, device: torch.device | str) -> Batch:
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        cells = {name: value.to(device) for name, value in self.cells.items()}
        return Batch(**{**vars(self), **moved, "cells": cells})


class Packer:
    """Packs samples that share one grid; holds the tokenizer and what it has tokenised already."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig):
        self.tokenizer, self.config = tokenizer, config
        self.encode = lru_cache(maxsize=200_000)(lambda text: tuple(tokenizer.encode(text)))
        self._start = self.encode("<|im_start|>user\n")
        self._ask = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        self._end = self.encode("<|im_end|>")
        self._next = self.encode("\n<|im_start|>user\n")

    def pack(self, samples: Items[Sample]) -> Batch:
        rows = [self._row(sample) for sample in samples]
        width = max(len(row.ids) for row in rows)
        batch = Batch(
            pixels=torch.cat([patches.pixels for sample in samples for patches in sample.media]),
            grids=tuple(patches.grid_thw for sample in samples for patches in sample.media),
            ids=_pad([row.ids for row in rows], width, 0),
            targets=_pad([row.targets for row in rows], width, IGNORE),
            positions=torch.stack([_pad_positions(row.positions, width) for row in rows], dim=1),
            mask=_mask(rows, width),
            vision_rows=torch.cat([row.vision + i * width for i, row in enumerate(rows)]),
            answers=[Answer(kind, i, a, b) for i, row in enumerate(rows) for kind, a, b in row.answers],
            cells={
                name: torch.from_numpy(
                    np.concatenate([cells[name] for s in samples for cells in s.all_cells])
                )
                for name in samples[0].cells
            },
        )
        return batch

    def _row(self, sample: Sample) -> _Row:
        prefix, positions, vision = self._prefix(sample)
        row = _Row(list(prefix), [IGNORE] * len(prefix), [positions], [0] * len(prefix), vision)
        after = int(positions.max()) + 1
        for number, segment in enumerate(sample.segments, start=1):
            self._append(row, segment, number, after)
        return row

    def _append(self, row: _Row, segment: Segment, number: int, after: int) -> None:
        start = len(row.ids)
        first = len(self._start) if segment.blind else after
        for index, turn in enumerate(segment.turns):
            asked = (*(self._next if index else ()), *self.encode(turn.question), *self._ask)
            answer = (*self.encode(turn.answer), *self._end)
            row.ids += asked + answer
            row.targets += [IGNORE] * (len(asked) - 1) + list(answer) + [IGNORE]
            row.answers.append((turn.kind, len(row.ids) - len(answer) - 1, len(row.ids) - 1))
        count = len(row.ids) - start
        row.positions.append((torch.arange(count) + first).expand(3, -1))
        row.segments += [-number if segment.blind else number] * count

    def _prefix(self, sample: Sample) -> Prefix:
        """What comes before the first question."""
        looks = tuple((patches.kind, patches.cells_thw, patches.timestamps) for patches in sample.media)
        if sample.earlier:
            return self._lay_out(looks, sample.earlier)
        return self._lay_out_alone(looks)

    @lru_cache(maxsize=512)  # noqa: B019 (one packer a run)
    def _lay_out_alone(self, looks: tuple) -> Prefix:
        return self._lay_out(looks, ())

    def _lay_out(self, looks: tuple, earlier: Items[Earlier]) -> Prefix:
        messages = [message for turn in earlier for message in self._messages(turn)]
        messages.append({"role": "user", "content": [{"type": looks[-1][0]}]})
        media = [self._blank(*look) for look in looks]
        sequence = build_sequence(
            messages, media, self.tokenizer, self.config.tokens, generation_prompt=False
        )
        spans = [span for span in sequence.spans if span.media is not None]
        last = spans[-1].stop + 1  # and <|vision_end|>
        vision = torch.cat([torch.arange(span.start, span.stop) for span in spans])
        return tuple(sequence.ids[:last].tolist()), sequence.positions[:, :last], vision

    def _messages(self, earlier: Earlier) -> list[dict]:
        asked = user_message(earlier.turn.question, [earlier.patches] if earlier.patches else [])
        return [asked, {"role": "assistant", "content": "", "ids": self.encode(earlier.turn.answer)}]

    def _blank(self, kind: str, cells: Grid, times: tuple[float, ...]) -> Patches:
        """Patches of a shape without a picture: all that the layout of a prompt depends on."""
        vision = self.config.vision
        merge = vision.spatial_merge_size
        grid = (cells[0], cells[1] * merge, cells[2] * merge)
        return Patches(
            kind, "", torch.empty(0), grid, np.empty(0), 0, 0, "", vision.patch_size, merge,
            vision.temporal_patch_size, times,
        )  # fmt: skip


@dataclass
class _Row:
    ids: list[int]
    targets: list[int]
    positions: list[Tensor]
    segments: list[int]  # 0 the prefix, n the n-th segment, -n one that does not see the picture
    vision: Tensor
    answers: list[tuple[str, int, int]] = field(default_factory=list)


def _pad(rows: list[list[int]], width: int, value: int) -> Tensor:
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def _pad_positions(parts: list[Tensor], width: int) -> Tensor:
    whole = torch.cat(parts, dim=1)
    return torch.nn.functional.pad(whole, (0, width - whole.shape[1]))


def _mask(rows: list[_Row], width: int) -> Tensor:
    """(B, 1, T, T): causal, inside the own segment or the prefix; blind segments see only its opening."""
    segments = torch.full((len(rows), width), 10**6)
    for index, row in enumerate(rows):
        segments[index, : len(row.segments)] = torch.tensor(row.segments)
    query, key = segments[:, :, None], segments[:, None, :]
    opening = torch.zeros(len(rows), 1, width, dtype=torch.bool)
    opening[:, :, :3] = True  # <|im_start|> user \n
    allowed = (query == key) | ((key == 0) & ((query > 0) | opening))
    return (allowed & torch.ones(width, width, dtype=torch.bool).tril())[:, None]
