"""Tokens → text that is always safe to show."""

from __future__ import annotations

from vlm.inputs.tokenizer import Tokenizer


class SafeText:
    """Never half a character, never a control token, never the beginning of a stop string.

    Byte-level tokenizers decode piece by piece, so only the tokens of an unfinished character wait.
    ``ended`` is set once a stop string was written; it and what follows are dropped.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...] = ()):
        self.ended = False
        self._tokenizer, self._stop = tokenizer, stop
        self._tokens: list[int] = []  # of a character that is not complete
        self._held = ""  # complete text that may turn out to begin a stop string

    def add(self, token: int) -> str:
        """The text that became safe with this token; often one word, sometimes nothing."""
        self._tokens.append(token)
        text = self._decode()
        if text.endswith("\ufffd"):
            return ""
        self._tokens.clear()
        return self.release(text)

    def rest(self) -> str:
        """What is left when the answer is over; a character that never became whole is dropped."""
        text, self._held = self._held + self._decode().rstrip("\ufffd"), ""
        self._tokens.clear()
        return "" if self.ended else text

    def release(self, text: str) -> str:
        """The same for text that another machine has decoded."""
        text = self._held + text
        found = [text.index(stop) for stop in self._stop if stop in text]
        if found:
            self.ended, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        safe, self._held = text[: len(text) - keep], text[len(text) - keep :]
        return safe

    def _decode(self) -> str:
        return self._tokenizer.decode(self._tokens) if self._tokens else ""


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    return next((n for n in range(min(len(text), len(stop)), 0, -1) if stop.startswith(text[-n:])), 0)
