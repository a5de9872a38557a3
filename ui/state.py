"""What the page remembers of one person, without gradio."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settings:
    """What a person set for their turns; None leaves the choice to the model's own limits."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    edge: int | None = None  # pixels: pictures and frames are shrunk to the area of a square of this edge
    fps: float | None = None  # frames a second taken from a clip
    max_frames: int | None = None
    lookup: int = 0  # tokens guessed from the text so far and checked in one call
    nearest: bool = False  # the key frames nearest to the wanted times, which need no others to be decoded


@dataclass(frozen=True)
class Ask:
    """A question to be put to the model; ``replaces`` is the index of the exchange it takes the place of."""

    text: str
    files: tuple[str, ...] = ()
    settings: Settings = Settings()
    replaces: int | None = None
    choice: Any = None  # the way out that was chosen where it did not fit


@dataclass(frozen=True)
class Exchange:
    """One question with its files and its answer, as the page shows it."""

    ask: Ask
    answer: str
    finish: str
    model: str
    run_id: str | None = None  # None where the answer broke off
    stats: dict = field(default_factory=dict)


@dataclass(eq=False)
class UserSession:
    """One open page: its conversation and the turn that is running.

    Gradio copies a fresh one for every page, so everything that cannot be copied starts as None.
    """

    chat: Any = None  # the model's side of the conversation, made by the service at the first turn
    first: int = 0  # index of the first exchange that ``chat`` knows; earlier ones went to another model
    exchanges: list[Exchange] = field(default_factory=list)
    stop: threading.Event | None = None  # set to end the turn that is running
    busy: bool = False
    refused: tuple[Ask, tuple] | None = None  # what did not fit, with the ways out
    sent: dict | None = None  # what was sent, until the page tells that its box holds something else

    def runs(self) -> list[tuple[str, str]]:
        """(label, run id) of every turn that the panels can show."""
        return [
            (_label(number, exchange.ask.text), exchange.run_id)
            for number, exchange in enumerate(self.exchanges, 1)
            if exchange.run_id
        ]

    def remember(self, exchange: Exchange) -> None:
        """Keep a turn that is over; it may take the place of an earlier one and of all behind that."""
        if exchange.ask.replaces is not None:
            del self.exchanges[exchange.ask.replaces :]
            self.first = min(self.first, len(self.exchanges))
        self.exchanges.append(exchange)

    def undo(self) -> Exchange:
        """Take back the last exchange."""
        last = self.exchanges.pop()
        self.align()
        return last

    def align(self) -> None:
        """Let the model's side end where the page's does, also after a turn that broke off or was undone."""
        if self.chat is None:
            return
        known = len(self.exchanges) - self.first
        while len(self.chat.turns) > max(0, known):
            self.chat.undo()
        if len(self.chat.turns) < known:
            self.first = len(self.exchanges) - len(self.chat.turns)

    def begin(self) -> threading.Event:
        """Mark a turn as running; returns the event that ends it."""
        self.busy, self.stop = True, threading.Event()
        return self.stop

    def end(self) -> None:
        """Mark the turn as over; whatever still runs of it is told to stop."""
        self.halt()
        self.busy, self.sent = False, None

    def halt(self) -> None:
        if self.stop is not None:
            self.stop.set()

    def forget(self) -> None:
        """Start over, and let go of the conversation's cache."""
        self.halt()
        self.part()
        self.exchanges.clear()
        self.first, self.refused = 0, None

    def part(self) -> None:
        """Let go of the model's side; what the page shows stays, and the next question starts afresh."""
        self.chat, self.first = None, len(self.exchanges)


def _label(number: int, text: str) -> str:
    text = " ".join(text.split())
    short = text if len(text) <= 60 else text[:57] + "…"
    return f"Turn {number}: {short}"
