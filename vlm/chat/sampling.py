"""Choosing the next token, and noticing when there is nothing left to choose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlm.records import InputError

LOOP_TOKENS, LOOP_PERIOD = 64, 16  # a run of up to 16 tokens, at least four times in a row


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. ``temperature`` 0 is greedy.

    ``repetition_penalty`` divides (or, below zero, multiplies) the logits of every token of the prompt and
    the answer (CTRL, arXiv 1909.05858); ``presence_penalty`` is taken off those of the answer's own tokens.
    ``min_p`` drops tokens less likely than that share of the likeliest (arXiv 2407.01082). The answer ends
    before the first of the ``stop`` strings. ``logprobs`` asks for each token's log-probability.
    ``lookup`` is how many tokens may be guessed from the text so far and checked at once: faster where text
    repeats, the answers are the same; 0 guesses none.

    Raises:
        InputError: a value out of range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    lookup: int = 0

    def __post_init__(self):
        allowed = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_k": (self.top_k is None or self.top_k >= 1, "at least 1"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "from 0 to 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "lookup": (0 <= self.lookup <= 64, "from 0 to 64"),
            "stop": ("" not in self.stop, "made of strings that are not empty"),
        }
        for name, (fits, range_) in allowed.items():
            if not fits:
                raise InputError(f"{name} must be {range_}, not {getattr(self, name)!r}")


class Sampler:
    """Draws the tokens of one answer; it remembers them for the penalties.

    Args:
        prompt: (T,) token ids.
    """

    def __init__(self, sampling: Sampling, prompt: Tensor):
        self.sampling = sampling
        self.answer: list[int] = []
        self._prompt = prompt.unique()
        self._generator = None
        if sampling.seed is not None:
            self._generator = torch.Generator().manual_seed(sampling.seed)

    @property
    def loops(self) -> bool:
        """Whether the answer repeats a short run of tokens and will hardly say anything new."""
        return is_loop(self.answer)

    def pick(self, logits: Tensor) -> tuple[int, float | None]:
        """A token from (vocabulary,) logits, and on request its log-probability before all settings."""
        logits = logits.float().cpu()
        scores = self._penalise(logits)
        if self.sampling.temperature == 0:
            token = int(scores.argmax())
        else:
            kept = _cut(scores / self.sampling.temperature, self.sampling)
            token = int(torch.multinomial(kept.softmax(-1), 1, generator=self._generator))
        self.answer.append(token)
        return token, float(logits.log_softmax(-1)[token]) if self.sampling.logprobs else None

    def _penalise(self, logits: Tensor) -> Tensor:
        s = self.sampling
        if s.repetition_penalty == 1 and s.presence_penalty == 0:
            return logits
        said = torch.tensor(self.answer, dtype=torch.int64).unique()
        seen = torch.cat((self._prompt, said)).unique()
        old = logits[seen]
        scores = logits.index_copy(
            0, seen, torch.where(old > 0, old / s.repetition_penalty, old * s.repetition_penalty)
        )
        return scores.index_add(0, said, torch.full(said.shape, -s.presence_penalty))


def _cut(scores: Tensor, sampling: Sampling) -> Tensor:
    """Set everything outside top-k, top-p and min-p to -inf; the best token always stays."""
    if sampling.top_k is not None:
        worst = scores.topk(min(sampling.top_k, len(scores))).values[-1]
        scores = scores.masked_fill(scores < worst, -torch.inf)
    if sampling.min_p > 0:
        shares = scores.softmax(-1)
        scores = scores.masked_fill(shares < sampling.min_p * shares.max(), -torch.inf)
    if sampling.top_p < 1:
        ordered, order = scores.softmax(-1).sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        scores = scores.index_fill(0, order[beyond], -torch.inf)
    return scores


def is_loop(tokens: list[int] | list[str]) -> bool:
    """Whether the last `LOOP_TOKENS` tokens are one run of at most `LOOP_PERIOD`, said over and over."""
    tail = tokens[-LOOP_TOKENS:]
    if len(tail) < LOOP_TOKENS:
        return False
    return any(tail[period:] == tail[:-period] for period in range(1, LOOP_PERIOD + 1))
