"""The turns that run now: the app waits for them when it is told to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ui.service.records import Refused
from ui.state import UserSession

PATIENCE = 5.0  # seconds for an answer that was told to stop


class Running:
    """Counts turns in and out."""

    def __init__(self):
        self._users: set[UserSession] = set()
        self._changed, self._closing = threading.Condition(), False

    @contextmanager
    def turn(self, user: UserSession) -> Iterator[None]:
        """Around a turn. Raises Refused when none may begin any more."""
        with self._changed:
            if self._closing:
                raise Refused("The server is being restarted: ask again in a minute.")
            self._users.add(user)
        try:
            yield
        finally:
            with self._changed:
                self._users.discard(user)
                self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Let no turn begin, and those that run end; after ``seconds`` they are stopped.

        Returns:
            Whether any was running.
        """
        with self._changed:
            self._closing, busy = True, bool(self._users)
            if not self._changed.wait_for(lambda: not self._users, seconds):
                for user in self._users:
                    user.halt()
                self._changed.wait_for(lambda: not self._users, PATIENCE)
        return busy
