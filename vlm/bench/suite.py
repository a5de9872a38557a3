"""All rows, by name: what each one runs, in full and quickly."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm.bench import limits as limits_
from vlm.bench import media, stages
from vlm.bench.guessing import lookup
from vlm.bench.lens import lens
from vlm.bench.limits import Limits
from vlm.bench.quantised import decode_4bit
from vlm.bench.rows import Row
from vlm.bench.startup import startup
from vlm.bench.stops import stop
from vlm.bench.tiny import tiny
from vlm.bench.turns import turn5_first_token
from vlm.engines import open_engine
from vlm.records import InputError

WINDOWED = "qwen2.5-vl-3b"


@dataclass
class Suite:
    """The rows of one run.

    Args:
        model: preset of the decoder's rows and of full attention in the tower.
        quick: few layers, one run each, short clips.
    """

    model: str
    device: str
    quick: bool

    def __post_init__(self):
        self.limits: Limits = limits_.measure(self.device, self.quick)
        self.runs, self.few = (2, 1) if self.quick else (5, 5)  # few: of what takes seconds
        self._pairs: dict[tuple[str, int], stages.Pair] = {}

    def rows(self) -> dict[str, Callable[[], Iterator[Row] | list[Row]]]:
        """Group name → what measures it, in the order in which they run."""
        return {
            "image_preprocess": self._image,
            "video_frames": self._videos,
            "vision_full": lambda: [self._tower(self._pair(self.model, 1, 4), "vision_full")],
            "vision_windowed": lambda: [self._tower(self._pair(WINDOWED, 2, 8), "vision_windowed")],
            "decoder": self._decoder,
            "lookup": lambda: lookup(self._pair(self.model, 1, 8), self.runs),
            "turn5_first_token": self._turns,
            "load": self._startup,
            "tiny": lambda: [
                tiny(self.device, self.runs),
                stop(open_engine("tiny", device=self.device), 5 if self.quick else 50, 0.3),
            ],
            "lens": lambda: lens(self.model, 1 if self.quick else None, self.device, self.few),
            "scaling": self._scaling,
        }

    def measure(self, wanted: tuple[str, ...] = ()) -> Iterator[Row]:
        """Run the groups ``wanted``, or all.

        Raises:
            InputError: no such group.
        """
        known = self.rows()
        unknown = set(wanted) - set(known)
        if unknown:
            raise InputError(f"no row {sorted(unknown)[0]!r}: use {', '.join(known)}")
        for name, run in known.items():
            if not wanted or name in wanted:
                yield from run()

    def _pair(self, preset: str, quick: int, full: int) -> stages.Pair:
        """A preset's pair; quick ones are kept, for making one takes longer than most rows."""
        if not self.quick:
            return self._own_pair(preset, full)
        if (preset, quick) not in self._pairs:
            self._pairs[preset, quick] = self._own_pair(preset, quick)
        return self._pairs[preset, quick]

    def _own_pair(self, preset: str, layers: int) -> stages.Pair:
        return stages.Pair(preset, layers, self.device, self.limits)

    @property
    def _size(self) -> tuple[int, int]:
        return stages.SMALL if self.quick else stages.PICTURE

    def _tower(self, pair: stages.Pair, name: str) -> Row:
        return stages.vision(pair, name, self.few, self._size)

    def _image(self) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            return media.image_preprocess(Path(folder), self.few)

    def _videos(self) -> list[Row]:
        clips = (
            (("10s", 10, (640, 360)),)
            if self.quick
            else (("60s", 60, (1920, 1080)), ("10min", 600, (1280, 720)))
        )
        with tempfile.TemporaryDirectory() as folder:
            return [
                row for clip in clips for row in media.video_frames(Path(folder), *clip, min(self.runs, 3))
            ]

    def _decoder(self) -> Iterator[Row]:
        pair = self._pair(self.model, 1, 8)
        yield stages.prefill(pair, self.few)
        yield stages.append(pair, self.runs)
        yield stages.decode(pair, 4 * self.few)
        for mode in ("int4",) if self.quick else ("nf4", "int4"):  # nf4 takes long to quantise
            yield decode_4bit(self._own_pair(self.model, 1 if self.quick else 8), mode, 4 * self.few)

    def _turns(self) -> list[Row]:
        pair = self._pair(self.model, 1, 8)
        if self.quick:
            return turn5_first_token(pair, 1, self._size, checked=0, answer=4)
        return turn5_first_token(pair, 3, self._size)

    def _startup(self) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            return startup(Path(folder), self.model, 1 if self.quick else None, 1 if self.quick else 3)

    def _scaling(self) -> Iterator[Row]:
        pair = self._pair(self.model, 1, 1)
        tokens = (64, 256) if self.quick else (256, 1024, 4096, 16384)
        yield from stages.against_vision_tokens(pair, tokens, 4096, self.few)
        yield from stages.against_frames(pair, (2, 4) if self.quick else (4, 16, 64), self.few)
        lengths = (256, 1024) if self.quick else (256, 1024, 4096, 16384)
        yield from stages.against_cache_length(pair, lengths, 2 * self.few)
