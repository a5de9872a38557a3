"""A turn of 16,384 vision tokens, as tests/browser/measure.py times it in the browser."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from ui import patch_grid, positions, tokens
from ui.service import Finished, backend
from ui.state import Ask, UserSession

APP = Path(__file__).parents[1] / "browser" / "large_app.py"


def test_its_panels_hold_every_cell_and_stay_small(monkeypatch):
    monkeypatch.setattr(backend, "ChatSession", backend.ChatSession)  # the app puts another there
    spec = importlib.util.spec_from_file_location("large_app", APP)
    spec.loader.exec_module(app := importlib.util.module_from_spec(spec))
    user = UserSession()
    user.begin()
    *_, last = app.large_service().turn(user, Ask("What is it?"))
    assert isinstance(last, Finished)
    grid, place, count = (panel.render(last.run) for panel in (patch_grid, positions, tokens))
    assert grid["media"][0]["tokens"] == place["media"][0]["cells"][1] ** 2 == 128**2
    assert grid["windows"]["cells"] == 4
    assert dict(count["kinds"])["image"] == 128**2
    # Numbers go as base64: as lists of JSON they took the browser ten times as long.
    assert all(isinstance(place[axis], str) for axis in "thw")
    assert len(json.dumps(place["t"])) < 6 * place["media"][0]["cells"][1] ** 2
