"""The app with switches for its guards, and a client that is logged in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
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

    def health(self) -> dict:
        return list(self.me.events("health"))[-1][1][0]

    @contextmanager
    def growth(self) -> Iterator[Callable[[], int]]:
        """Bytes by which the app's own process has grown at most since then."""
        own = Path(f"/proc/{self.process.pid}")
        (own / "clear_refs").write_text("5")  # its peak begins anew
        before = _peak(own)
        yield lambda: _peak(own) - before

    @contextmanager
    def switched(self, **switches) -> Iterator[None]:
        """With ``off=[guards]``, ``allowance={…}`` or ``fail=name`` in force."""
        self._switches.write_text(json.dumps(switches))
        try:
            yield
        finally:
            self._switches.write_text("{}")


def _peak(process: Path) -> int:
    return int((process / "status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
