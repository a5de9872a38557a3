"""How sure the model was of each token of an answer, and what else it might have written."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from math import exp

import torch

from vlm.inputs.tokenizer import Tokenizer
from vlm.lens.replay import blocks, replay
from vlm.lens.subject import Subject
from vlm.lens.words import Word


@dataclass(frozen=True)
class Guess:
    """``probability`` of the token at ``index``, before temperature and penalties; the likeliest others."""

    index: int
    text: str
    probability: float
    alternatives: tuple[tuple[str, float], ...]


@torch.inference_mode()
def confidence(
    subject: Subject, words: Items[Word], tokenizer: Tokenizer, count: int = 5
) -> list[list[Guess]]:
    """The guesses for each word's tokens, with the ``count`` likeliest tokens, the written one or not."""
    tokens = [index for word in words for index in range(word.start, word.stop)]
    guesses = [guess for block in blocks(tokens) for guess in _guesses(subject, block, tokenizer, count)]
    found = iter(guesses)
    return [[next(found) for _ in range(word.start, word.stop)] for word in words]


def word_probability(guesses: Items[Guess]) -> float:
    """Of the whole word: the product over its tokens."""
    product = 1.0
    for guess in guesses:
        product *= guess.probability
    return product


def _guesses(subject: Subject, tokens: Items[int], tokenizer: Tokenizer, count: int) -> list[Guess]:
    hidden = replay(subject, [index - 1 for index in tokens])
    logits = subject.model.decoder.logits(hidden).float().log_softmax(-1)  # (N, vocabulary)
    ids = subject.sequence.ids[list(tokens)].to(logits.device)
    own = logits.gather(-1, ids[:, None])[:, 0].tolist()
    best = logits.topk(count)
    rows = zip(tokens, ids.tolist(), own, best.indices.tolist(), best.values.tolist(), strict=True)
    return [
        Guess(
            index,
            tokenizer.token_text(token),
            exp(value),
            tuple((tokenizer.token_text(other), exp(v)) for other, v in zip(others, values, strict=True)),
        )
        for index, token, value, others, values in rows
    ]
