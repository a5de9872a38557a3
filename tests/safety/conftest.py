"""The app with switches for its guards, started once, and clients of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("browser", "inputs")]

from attacked import Attacked  # noqa: E402
from served import running_app  # noqa: E402


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
