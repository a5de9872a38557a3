"""The app with switches for its guards, started once, and clients of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("browser", "inputs")]

from served import Address, running_app  # noqa: E402
from talk import Talk  # noqa: E402

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


@pytest.fixture(scope="session")
def attacked(tmp_path_factory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("attacked")
    switches = folder / "switches.json"
    switches.write_text("{}")
    patch = pytest.MonkeyPatch()
    patch.setenv("SWITCHES", str(switches))
    with running_app(folder, "tests/safety/switched_app.py") as address:
        patch.undo()
        app = Attacked(address, switches)
        app.log = folder / "app.log"
        app.me.ask("Hello")  # the model is there now
        yield app
