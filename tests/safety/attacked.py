"""The app with switches for its guards, and a client that is logged in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from served import Address
from talk import Talk

LOGIN = ("me", "secret")


class Attacked:
    """The running app and its switches."""

    def __init__(self, address: Address, switches: Path):
        self.address, self.process, self._switches = address, address.process, switches
        self.me = Talk(address, LOGIN)

    @contextmanager
    def switched(self, **switches) -> Iterator[None]:
        """With ``off=[guards]``, ``allowance={…}`` or ``fail=name`` in force."""
        self._switches.write_text(json.dumps(switches))
        try:
            yield
        finally:
            self._switches.write_text("{}")
