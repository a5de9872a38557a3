"""The figures of one answer, and how fast this machine has been so far."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

from vlm.chat.lookup import Guesses
from vlm.records import Sequence

Event, Result = TypeVar("Event"), TypeVar("Result")
KINDS = ("text", "image", "video", "special", "answer")


class Clock:
    """Milliseconds of each stage of one answer: queue, encode, prefill, decode."""

    def __init__(self):
        self._last = time.perf_counter()
        self._laps: dict[str, float] = {}
        self.encoded_patches = 0
        self.guesses: Guesses | None = None  # where tokens were guessed ahead

    def lap(self, stage: str) -> None:
        """The stage that began at the last lap is over."""
        now = time.perf_counter()
        self._laps[stage], self._last = 1000 * (now - self._last), now

    def timed(self, stage: str, events: Generator[Event, None, Result]) -> Generator[Event, None, Result]:
        """Pass ``events`` on and count the time that making them takes, not the listener's; returns what
        they return."""
        spent = 0.0
        while True:
            began = time.perf_counter()
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            finally:
                spent += time.perf_counter() - began
                self._laps[stage] = 1000 * spent
            yield event

    def ms(self, stage: str) -> float | None:
        """None where the stage was not reached."""
        return self._laps.get(stage)


class Pace:
    """How fast this machine reads, from the latest answers: enough to say how long the next will take."""

    def __init__(self):
        self.patches_per_s: float | None = None
        self.tokens_per_s: float | None = None

    def learn(self, clock: Clock, computed_tokens: int) -> None:
        self.patches_per_s = _rate(self.patches_per_s, clock.encoded_patches, clock.ms("encode"))
        self.tokens_per_s = _rate(self.tokens_per_s, computed_tokens, clock.ms("prefill"))

    def seconds(self, patches: int, tokens: int) -> float | None:
        """Until the first word, for so much new work; None before anything was measured."""
        if (patches and not self.patches_per_s) or not self.tokens_per_s:
            return None
        return (patches / self.patches_per_s if patches else 0.0) + tokens / self.tokens_per_s


def _rate(old: float | None, count: int, ms: float | None) -> float | None:
    """The newest rate counts half. A handful of tokens would measure the overhead, not the rate."""
    if count < 16 or not ms:
        return old
    rate = 1000 * count / ms
    return rate if old is None else (old + rate) / 2


def statistics(sequence: Sequence, answer_tokens: int, reused: int, clock: Clock) -> dict:
    """Counts of tokens, and times in milliseconds; None where a stage was not reached.

    ``first_token_ms`` counts from the moment the model was free for this answer: encode and prefill.
    """
    computed, prefill, decode = len(sequence) - reused, clock.ms("prefill"), clock.ms("decode")
    after_first = answer_tokens - 1
    return {
        "prompt_tokens": len(sequence),
        "prompt_tokens_by_kind": {kind: sequence.count(kind) for kind in KINDS},
        "reused_tokens": reused,
        "computed_tokens": computed,
        "answer_tokens": answer_tokens,
        "encoded_patches": clock.encoded_patches,
        "guessed_tokens": clock.guesses and clock.guesses.made,
        "accepted_tokens": clock.guesses and clock.guesses.right,
        **{f"{stage}_ms": _round(clock.ms(stage)) for stage in ("queue", "encode", "prefill", "decode")},
        "prefill_tokens_per_s": _round(prefill and 1000 * computed / prefill),
        "first_token_ms": _round(prefill and prefill + (clock.ms("encode") or 0.0)),
        "decode_tokens_per_s": _round(1000 * after_first / decode if after_first > 0 and decode else None),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
