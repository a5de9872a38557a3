"""The answer of a turn as words, each a run of tokens."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from vlm.inputs.tokenizer import Tokenizer
from vlm.records import Sequence, Trace

UNFINISHED = "\ufffd"  # how a tokenizer shows bytes that are no character yet


@dataclass(frozen=True)
class Word:
    """``text`` with the space before it; the tokens ``start`` … ``stop - 1`` of the sequence wrote it."""

    text: str
    start: int
    stop: int


def answer_words(trace: Trace, tokenizer: Tokenizer) -> list[Word]:
    """The words of the turn's own answer, in order; control tokens only where they mark boxes or points.

    A word begins at a space, after punctuation, and at every Chinese or Japanese character.
    """
    words: list[Word] = []
    for piece in answer_pieces(trace.sequence, tokenizer):
        if piece.text in tokenizer.special_texts and not _marks_a_place(piece.text):
            continue
        if words and words[-1].stop == piece.start and _goes_on(words[-1].text, piece.text):
            words[-1] = Word(words[-1].text + piece.text, words[-1].start, piece.stop)
        else:
            words.append(piece)
    return words


def answer_pieces(sequence: Sequence, tokenizer: Tokenizer) -> list[Word]:
    """The answer token by token; the tokens of one character stay together."""
    span = sequence.spans[-1]
    if span.kind != "answer":
        return []
    pieces: list[Word] = []
    held: list[int] = []
    for index, token in enumerate(sequence.ids[span.start : span.stop].tolist(), span.start):
        special = token in tokenizer.special_ids
        text = tokenizer.token_text(token) if special else tokenizer.decode([*held, token])
        held = [] if special or not text.endswith(UNFINISHED) else [*held, token]
        if not held:
            pieces.append(Word(text, pieces[-1].stop if pieces else span.start, index + 1))
    return pieces


def raw_answer(sequence: Sequence, tokenizer: Tokenizer) -> str:
    """The answer with its control tokens, as boxes and points are written; without the end mark."""
    pieces = answer_pieces(sequence, tokenizer)
    return "".join(
        piece.text
        for piece in pieces
        if piece.text not in tokenizer.special_texts or _marks_a_place(piece.text)
    )


def _marks_a_place(text: str) -> bool:
    return any(name in text for name in ("box", "point", "ref", "quad"))


def _goes_on(before: str, text: str) -> bool:
    """Whether a token belongs to the word before it."""
    first, last = text[:1], before[-1:]
    if not first or first.isspace() or _wide(first) or _wide(last) or "<|" in text or before.endswith("|>"):
        return False
    return _wordlike(first) and (_wordlike(last) or last.isspace())


def _wordlike(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character in "'’_-"


def _wide(character: str) -> bool:
    return bool(character) and unicodedata.east_asian_width(character) in "WF"
