"""First come, first served: who may use the model now, and how many are before the others."""

from __future__ import annotations

import threading
from collections import deque


class Queue:
    """A line of tickets; the first one's holder is being served."""

    def __init__(self):
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def join(self) -> object:
        """Stand at the end; returns the ticket."""
        ticket = object()
        with self._changed:
            self._line.append(ticket)
        return ticket

    def place(self, ticket: object, timeout: float = 0.0) -> int:
        """How many are before the ticket's holder; 0 as soon as it is served.

        Args:
            timeout: seconds to wait for that.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._line[0] is ticket, timeout)
            return self._line.index(ticket)

    def leave(self, ticket: object) -> None:
        """Step out of the line, served or not."""
        with self._changed:
            self._line.remove(ticket)
            self._changed.notify_all()
