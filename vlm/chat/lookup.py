"""Prompt lookup: guess the next tokens from the text so far, and check the guesses in one call of the model.

Where an answer repeats what was said, the tokens behind the last same three (or two) are often right (prompt
lookup decoding, a form of speculative decoding, arXiv 2211.17192, whose draft is a certainty). Every token is
still chosen from the model's own logits: a guess is kept when it is the token that was chosen, so greedy
answers are the same and sampled ones follow the same distribution.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from dataclasses import dataclass

from torch import Tensor

from vlm.models.cache import KVCache
from vlm.models.model import VisionLanguageModel
from vlm.records import Sequence

GRAMS = (3, 2)  # lengths of the runs that are looked for, the longest first
PAUSE = 32  # tokens without guesses after they have cost more than they gave
MEMORY = 0.8  # share of the past in the running means


@dataclass
class Guesses:
    """What came of guessing in one answer."""

    made: int = 0
    right: int = 0  # tokens that needed no call of their own
    calls: int = 0  # of the model, behind the prompt


class Lookahead:
    """Turns chosen tokens into the logits of the next ones, with as few calls of the model as it can.

    Args:
        cache: holds the prompt; after `close` also the tokens that were fed, and no guesses.
        most: guesses in one call; 0: one call a token.
        longest: tokens of prompt and answer at most.
        count: filled with what comes of it.
    """

    def __init__(
        self, model: VisionLanguageModel, cache: KVCache, sequence: Sequence, most: int, longest: int,
        count: Guesses,
    ):  # fmt: skip
        self.model, self.cache, self.most, self.longest = model, cache, most, longest
        self.count = count
        self._timed = model.device.type == "cpu"  # a GPU reads the weights once for one token or for eight
        self._offset = sequence.rope_delta
        self._text = Text(sequence.ids.tolist() if most else ())
        self._fed = cache.length
        self._guesses: list[int] = []  # not yet confirmed, in order
        self._rows: list[Tensor] = []  # logits behind each of them
        self._worth = Worth()

    def feed(self, token: int) -> Tensor:
        """Logits (vocabulary,) of the token that follows ``token``."""
        self._text.add(token)
        self._fed += 1
        if self._guesses and self._guesses[0] == token:
            self._guesses.pop(0)
            self.count.right += 1
            self._worth.right()
            return self._rows.pop(0)
        self.cache.crop(self._fed - 1)
        most = min(self.most, self.longest - self._fed - 1)
        self._guesses = self._text.guess(most) if most > 0 and self._worth.trying() else []
        start = time.perf_counter()
        position = self._fed - 1 + self._offset
        if self._guesses:
            first, *self._rows = self.model.steps([token, *self._guesses], position, self.cache)
        else:
            first, self._rows = self.model.step(token, position, self.cache), []
        self._worth.called(len(self._guesses), time.perf_counter() - start if self._timed else 1.0)
        self.count.calls += 1
        self.count.made += len(self._guesses)
        return first

    def close(self) -> None:
        """Take guesses that nobody confirmed out of the cache."""
        self.cache.crop(min(self._fed, self.cache.length))


class Text:
    """Tokens so far, and where each short run of them was seen last."""

    def __init__(self, tokens: Items[int]):
        self._tokens: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}  # run → index of the token behind it
        self._pending: list[tuple[int, ...]] = []
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        for run in self._pending:  # only now is there something behind them
            self._behind[run] = len(self._tokens)
        self._tokens.append(token)
        self._pending = [tuple(self._tokens[-n:]) for n in GRAMS if len(self._tokens) >= n]

    def guess(self, most: int) -> list[int]:
        """What followed the last time; empty where the end of the text is new."""
        for run in self._pending:
            if run in self._behind:
                return self._tokens[self._behind[run] :][:most]
        return []


class Worth:
    """Whether guessing pays: tokens for each call with guesses, against how much longer it takes."""

    def __init__(self):
        self._gained, self._plain, self._guessing = 1.0, None, None
        self._rest, self._open, self._right = 0, False, 0

    def right(self) -> None:
        self._right += 1

    def trying(self) -> bool:
        """Whether to guess now; settles the last call first."""
        if self._open:
            self._gained = MEMORY * self._gained + (1 - MEMORY) * self._right
            if self._plain and (1 + self._gained) * self._plain < self._guessing:
                self._rest, self._gained = PAUSE, 1.0
        self._open, self._right = False, 0
        self._rest = max(0, self._rest - 1)
        return self._rest == 0

    def called(self, guesses: int, seconds: float) -> None:
        if guesses:
            self._guessing, self._open = _mean(self._guessing, seconds), True
        else:
            self._plain = _mean(self._plain, seconds)


def _mean(past: float | None, now: float) -> float:
    return now if past is None else MEMORY * past + (1 - MEMORY) * now
