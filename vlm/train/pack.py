"""Samples → one batch of tensors, many questions to a picture, none of which sees another.

A prefix holds the picture, and its questions (or dialogues) stand behind it in branches. A question sees the
prefix and itself, and its positions restart where the prefix ends, so each is exactly what a chat would be.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vlm.config import ModelConfig
from vlm.inputs.sequence import build_sequence, user_message
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.branches import Branches
from vlm.models.grid import Grid
from vlm.records import Patches, Sequence
from vlm.train.layout import BRANCH, PREFIX, Prefix, Run, branch_layout, fill, lay, place, round_up

IGNORE = -100
Cells = dict[str, np.ndarray]  # see `stream.cell_truth`


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
class Picture:
    """A picture or clip, cut, and the truth of its merged cells."""

    patches: Patches
    cells: Cells = field(default_factory=dict)


@dataclass(frozen=True)
class Earlier:
    """A turn that came before: maybe about another picture, maybe mere talk."""

    turn: Turn
    picture: Picture | None = None


@dataclass(frozen=True)
class Sample:
    """What is shown in one message, with the segments asked about it.

    ``earlier`` turns stand before it, so that a model learns to answer about the latest picture.
    """

    pictures: tuple[Picture, ...]
    segments: tuple[Segment, ...]
    earlier: tuple[Earlier, ...] = ()

    @property
    def all_pictures(self) -> list[Picture]:
        """All pictures before the segments, in the order of the prompt."""
        return [*(turn.picture for turn in self.earlier if turn.picture), *self.pictures]

    @property
    def media(self) -> list[Patches]:
        return [picture.patches for picture in self.all_pictures]


@dataclass(frozen=True)
class Answer:
    """Where one answer's targets lie in a batch (``start`` … ``stop``), and whose it is."""

    kind: str
    start: int
    stop: int
    sample: int
    segment: int
    turn: int


@dataclass
class Batch:
    """T tokens: the prefixes of all samples end to end, then the branches of all samples."""

    pixels: Tensor  # (P, patch_dim)
    grids: tuple[Grid, ...]
    ids: Tensor  # (T,)
    targets: Tensor  # (T,): the next token where it is an answer's, else IGNORE
    positions: Tensor  # (3, T)
    layout: Branches
    vision_rows: Tensor  # (V,) into the T tokens
    answers: list[Answer]
    cells: dict[str, Tensor]

    def to(self, device: torch.device | str) -> Batch:
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        cells = {name: value.to(device) for name, value in self.cells.items()}
        layout = replace(self.layout, owner=self.layout.owner.to(device), mask=self.layout.mask.to(device))
        return Batch(**{**vars(self), **moved, "cells": cells, "layout": layout})


class Packer:
    """Packs samples; holds the tokenizer and what it has tokenised already."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig):
        self.tokenizer, self.config = tokenizer, config
        self.encode = lru_cache(maxsize=200_000)(lambda text: tuple(tokenizer.encode(text)))
        self._start = self.encode("<|im_start|>user\n")
        self._ask = self.encode("<|im_end|>\n<|im_start|>assistant\n")
        self._end = self.encode("<|im_end|>")
        self._next = self.encode("\n<|im_start|>user\n")

    def pack(self, samples: Items[Sample]) -> Batch:
        prefixes = [self._prefix(sample) for sample in samples]
        runs = [
            self._run(segment, prefix, (number, index))
            for number, (sample, prefix) in enumerate(zip(samples, prefixes, strict=True))
            for index, segment in enumerate(sample.segments)
        ]
        width = round_up(max(len(prefix[0]) for prefix in prefixes), PREFIX)
        # At least two units, so that several short questions share a branch.
        length = round_up(max((len(run.ids) for run in runs), default=1), BRANCH, least=2)
        branches = fill(runs, length)
        starts = [len(prefixes) * width + number * length for number in range(len(branches))]
        pictures = [picture for sample in samples for picture in sample.all_pictures]
        return Batch(
            pixels=torch.cat([picture.patches.pixels for picture in pictures]),
            grids=tuple(picture.patches.grid_thw for picture in pictures),
            ids=lay(prefixes, branches, width, length, 0, lambda run: run.ids, lambda prefix: prefix[0]),
            targets=lay(prefixes, branches, width, length, IGNORE, lambda run: run.targets, lambda _: ()),
            positions=place(prefixes, branches, width, length),
            layout=branch_layout(prefixes, branches, width, length),
            vision_rows=torch.cat([prefix[2] + i * width for i, prefix in enumerate(prefixes)]),
            answers=_answers(branches, starts),
            cells={
                name: torch.from_numpy(np.concatenate([picture.cells[name] for picture in pictures]))
                for name in pictures[0].cells
            },
        )

    def pack_conversations(self, messages: Items[Items[dict]], media: Items[Items[Patches]]) -> Batch:
        """Whole conversations, none of which sees another; every answer in them is a target.

        Args:
            messages: content-parts messages of each conversation.
            media: of each conversation, parallel to its image and video parts.
        """
        rows = [self._conversation(*row) for row in zip(messages, media, strict=True)]
        width = round_up(max(len(row.sequence) for row in rows), PREFIX)
        shown = [patches for patches_of_row in media for patches in patches_of_row]
        prefixes = [(row.sequence.ids.tolist(), row.sequence.positions, row.vision) for row in rows]
        targets = [row.targets + [IGNORE] * (width - len(row.targets)) for row in rows]
        return Batch(
            pixels=torch.cat([p.pixels for p in shown]) if shown else torch.empty(0),
            grids=tuple(patches.grid_thw for patches in shown),
            ids=lay(prefixes, [], width, 0, 0, None, lambda prefix: prefix[0]),
            targets=torch.tensor(targets).flatten(),
            positions=place(prefixes, [], width, 0),
            layout=branch_layout(prefixes, [], width, 0),
            vision_rows=torch.cat([row.vision + i * width for i, row in enumerate(rows)]),
            answers=[
                Answer("answers", i * width + start, i * width + stop, i, 0, turn)
                for i, row in enumerate(rows)
                for turn, (start, stop) in enumerate(row.answers)
            ],
            cells={},
        )

    def _conversation(self, messages: Items[dict], media: Items[Patches]) -> _Conversation:
        written = [
            {**message, "ids": self.encode(message["content"])} if message["role"] == "assistant" else message
            for message in messages
        ]
        sequence = build_sequence(written, media, self.tokenizer, self.config.tokens, generation_prompt=False)
        answers = [(s.start - 1, s.stop) for s in sequence.spans if s.kind == "answer"]  # and <|im_end|>
        targets, ids = [IGNORE] * len(sequence), sequence.ids.tolist()
        for start, stop in answers:
            targets[start:stop] = ids[start + 1 : stop + 1]
        spans = [torch.arange(s.start, s.stop) for s in sequence.spans if s.media is not None]
        vision = torch.cat(spans) if spans else torch.empty(0, dtype=torch.long)
        return _Conversation(sequence, targets, answers, vision)

    def length(self, segment: Segment) -> int:
        """Tokens of a segment: its questions and answers and what stands around them."""
        around = len(self._ask) + len(self._end)
        texts = sum(len(self.encode(turn.question)) + len(self.encode(turn.answer)) for turn in segment.turns)
        return texts + len(segment.turns) * around + (len(segment.turns) - 1) * len(self._next)

    def _run(self, segment: Segment, prefix: Prefix, where: tuple[int, int]) -> Run:
        after = len(self._start) if segment.blind else int(prefix[1].max()) + 1
        run = Run(where, after, segment.blind)
        for index, turn in enumerate(segment.turns):
            asked = (*(self._next if index else ()), *self.encode(turn.question), *self._ask)
            answer = (*self.encode(turn.answer), *self._end)
            run.ids += asked + answer
            run.targets += [IGNORE] * (len(asked) - 1) + list(answer) + [IGNORE]
            run.answers.append((turn.kind, len(run.ids) - len(answer) - 1, len(run.ids) - 1))
        return run

    def _prefix(self, sample: Sample) -> Prefix:
        """What comes before the first question."""
        looks = tuple((patches.kind, patches.cells_thw, patches.timestamps) for patches in sample.media)
        if sample.earlier:
            return self._lay_out(looks, sample.earlier, len(sample.pictures))
        return self._lay_out_alone(looks)

    @lru_cache(maxsize=512)  # noqa: B019 (one packer a run)
    def _lay_out_alone(self, looks: tuple) -> Prefix:
        return self._lay_out(looks, (), len(looks))

    def _lay_out(self, looks: tuple, earlier: Items[Earlier], shown: int) -> Prefix:
        messages = [message for turn in earlier for message in self._messages(turn)]
        messages.append({"role": "user", "content": [{"type": look[0]} for look in looks[-shown:]]})
        media = [self._blank(*look) for look in looks]
        sequence = build_sequence(
            messages, media, self.tokenizer, self.config.tokens, generation_prompt=False
        )
        spans = [span for span in sequence.spans if span.media is not None]
        last = spans[-1].stop + 1  # and <|vision_end|>
        vision = torch.cat([torch.arange(span.start, span.stop) for span in spans])
        return tuple(sequence.ids[:last].tolist()), sequence.positions[:, :last], vision

    def _messages(self, earlier: Earlier) -> list[dict]:
        asked = user_message(earlier.turn.question, [earlier.picture.patches] if earlier.picture else [])
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
class _Conversation:
    """A whole conversation as tokens, and where its answers' targets and its vision tokens are."""

    sequence: Sequence
    targets: list[int]
    answers: list[tuple[int, int]]
    vision: Tensor


def _answers(branches: list[list[Run]], starts: list[int]) -> list[Answer]:
    found = []
    for branch, start in zip(branches, starts, strict=True):
        for run in branch:
            for turn, (kind, first, stop) in enumerate(run.answers):
                found.append(Answer(kind, start + first, start + stop, *run.where, turn))
            start += len(run.ids)
    return found
