"""The frozen records that travel through the house; every panel reads these and nothing else.

Shape letters used in the whole package:
    B batch, T sequence tokens, P patches, V merged vision tokens, D width, H heads, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

Box = tuple[float, float, float, float]  # left, top, right, bottom
MediaKind = Literal["image", "video"]
SpanKind = Literal["text", "special", "image", "video", "answer"]


class InputError(ValueError):
    """Something the person gave cannot be used; the message says what and what to do."""


class MediaError(InputError):
    """A file cannot be used.

    Attributes: ``name`` (the file's name, without its folder) and ``reason`` (one sentence).
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True)
class Frames:
    """A decoded picture or the sampled frames of a clip.

    ``pixels`` is (F, H, W, 3) uint8 RGB. A picture has F = 1 and its full size; a clip's frames may
    already have the size the model needs, so ``width`` and ``height`` always give the upright original.
    """

    kind: MediaKind
    name: str
    pixels: np.ndarray
    width: int
    height: int
    digest: str  # hash of what the model can see: pixels and times
    timestamps: tuple[float, ...] = ()  # seconds from the clip's start, one per frame
    source_fps: float | None = None
    sampled_fps: float | None = None  # the clip's own rate times the share of its frames that was sampled
    duration: float | None = None  # seconds
    notes: tuple[str, ...] = ()  # what was lost or changed on the way in, in words


@dataclass(frozen=True)
class Patches:
    """What the vision tower reads, and the way back to the picture.

    ``pixels`` is (P, C * temporal_patch_size * patch_size²) float32 in merge-block order: the cells of
    one merged token lie together; it has no rows until it is needed.
    ``resized`` is (F, H', W', 3) uint8, the picture as the model saw it.
    """

    kind: MediaKind
    name: str
    pixels: torch.Tensor
    grid_thw: tuple[int, int, int]  # in patches
    resized: np.ndarray
    width: int
    height: int
    digest: str
    patch_size: int
    merge_size: int
    temporal_patch_size: int
    timestamps: tuple[float, ...] = ()  # seconds, one per temporal patch (mean of its frames)
    frame_timestamps: tuple[float, ...] = ()  # seconds, one per frame
    sampled_fps: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def cells_thw(self) -> tuple[int, int, int]:
        """Grid of merged cells: one vision token each."""
        t, h, w = self.grid_thw
        return t, h // self.merge_size, w // self.merge_size

    @property
    def patch_count(self) -> int:
        """P, also where ``pixels`` are not cut yet."""
        t, h, w = self.grid_thw
        return t * h * w

    @property
    def tokens(self) -> int:
        t, h, w = self.cells_thw
        return t * h * w

    def cell_box(self, row: int, column: int) -> Box:
        """Pixel box (left, top, right, bottom) of a merged cell in the upright original."""
        return self._box(row, column, self.cells_thw[1:])

    def patch_box(self, row: int, column: int) -> Box:
        """Pixel box of one patch in the upright original."""
        return self._box(row, column, self.grid_thw[1:])

    def cell_at(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of the merged cell that shows a point of the original; x and y in its pixels."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise ValueError(f"({x}, {y}) lies outside the picture of {self.width}×{self.height}")
        _, rows, columns = self.cells_thw
        return int(y * rows / self.height), int(x * columns / self.width)

    def patch_place(self, index: int) -> tuple[int, int, int]:
        """(t, row, column) of the patch at ``index`` of ``pixels``, which are in merge-block order."""
        _, rows, columns = self.cells_thw
        cell, inside = divmod(index, self.merge_size**2)
        t, cell = divmod(cell, rows * columns)
        row, column = divmod(cell, columns)
        down, right = divmod(inside, self.merge_size)
        return t, row * self.merge_size + down, column * self.merge_size + right

    def _box(self, row: int, column: int, grid: tuple[int, int]) -> Box:
        rows, columns = grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(f"row {row}, column {column} lies outside the grid of {rows}×{columns}")
        across, down = self.width / columns, self.height / rows
        return column * across, row * down, (column + 1) * across, (row + 1) * down


@dataclass(frozen=True)
class VisionOut:
    """Features of one medium and its DeepStack taps: one unit, cached and fed together."""

    features: torch.Tensor  # (V, D)
    taps: tuple[torch.Tensor, ...]  # each (V, D)
    grid_thw: tuple[int, int, int]
    digest: str

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + sum(tap.nbytes for tap in self.taps)


@dataclass(frozen=True)
class Span:
    """A run of tokens of one kind: the key that joins token index, merged cell and pixel box.

    For ``image`` and ``video``: ``cells`` is the merged grid (t, h, w) of this run, ``media`` the index
    into ``Sequence.media`` and ``frame`` the first temporal patch it covers.
    """

    kind: SpanKind
    start: int
    stop: int
    cells: tuple[int, int, int] | None = None
    media: int | None = None
    frame: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Sequence:
    """A prompt: token ids, what they are, and where M-RoPE puts them.

    ``ids`` is (T,) int64; ``positions`` (3, T) int64 holds the temporal, height and width id of each
    token; a token generated at index ``i`` gets ``i + rope_delta`` on all three axes.
    """

    ids: torch.Tensor
    spans: tuple[Span, ...]
    positions: torch.Tensor
    rope_delta: int
    media: tuple[Patches, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def count(self, kind: SpanKind) -> int:
        return sum(len(span) for span in self.spans if span.kind == kind)


@dataclass(frozen=True)
class Step:
    """One generated token and the text that became safe to show with it.

    ``token`` is None where another machine generates and says only the text; ``logprob`` is there on
    request.
    """

    token: int | None
    text: str
    index: int  # in the sequence
    logprob: float | None = None
    finish: Literal["eos", "stop", "loop", "length", "context", "stopped", "memory", "cut"] | None = None


@dataclass(frozen=True)
class Progress:
    """What the engine is doing now; ``total`` is None where the end is not known."""

    stage: Literal["media", "waiting", "memory", "encode", "prefill"]
    detail: str  # in words, such as "reading clip.mp4"; ``done`` of ``total`` comes beside it
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class Trace:
    """Everything one turn left behind for the panels. ``sequence`` includes the answer's tokens."""

    sequence: Sequence
    tokens: tuple[str, ...]  # the text of each token, control tokens by name
    answer: str
    finish: str
    stats: dict = field(default_factory=dict)
