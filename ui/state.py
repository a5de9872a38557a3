"""What the page remembers of one person, without gradio."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass
class UserSession:
    """One open page: its conversation, what the chat shows and the turns its panels can show.

    Gradio copies a fresh one for every page, so everything that cannot be copied starts as None.
    """

    chat: Any = None  # the model's side of the conversation, made by the service at the first turn
    messages: list[dict] = field(default_factory=list)  # what the chat shows, in Gradio's message form
    runs: list[tuple[str, str]] = field(default_factory=list)  # (label, run id) of every finished turn
    stop: threading.Event | None = None  # set to end the turn that is running
    busy: bool = False

    def begin(self) -> threading.Event:
        """Mark a turn as running; returns the event that ends it."""
        self.busy, self.stop = True, threading.Event()
        return self.stop

    def end(self) -> None:
        """Mark the turn as over; whatever still runs of it is told to stop."""
        self.halt()
        self.busy = False

    def halt(self) -> None:
        if self.stop is not None:
            self.stop.set()

    def forget(self) -> None:
        """Start over, and let go of the conversation's cache."""
        self.halt()
        self.chat = None
        self.messages.clear()
        self.runs.clear()
