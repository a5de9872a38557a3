"""Checkpoints made to do harm, loaded into the running app: refused, and not without their guard."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attacked import Attacked

from vlm.families.naming import TINY
from vlm.weights.load import INDEX, SINGLE

WAIT = 20.0  # seconds


def copy(app: Attacked, name: str) -> Path:
    return Path(shutil.copytree(TINY, Path(app.log).with_name(name), dirs_exist_ok=True))


def load(app: Attacked, model: str | Path) -> dict:
    """What /health says once the app has tried."""
    before, end = app.health(), time.monotonic() + WAIT
    app.me.http.post("gradio_api/run/load", json={"data": [str(model), "auto", "auto", "auto"]})
    while (now := app.health()) == before or now["status"] == "loading":
        assert time.monotonic() < end, now
        time.sleep(0.1)
    return now


def endless_layers(app: Attacked) -> bool:
    """A config that asks for 10⁹ layers."""
    folder = copy(app, "endless")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    detail = load(app, folder)["detail"]
    assert ("config cannot be right" in detail) != ("1000000000 layers would be built" in detail)
    return "config cannot be right" in detail


def foreign_weights(app: Attacked) -> bool:
    """An index that names a file outside of its folder."""
    folder = copy(app, "foreign")
    shutil.move(folder / SINGLE, folder.parent / SINGLE)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"any": f"../{SINGLE}"}}))
    found = load(app, folder)
    assert ("points outside" in found["detail"]) != (found["model"] == "foreign")
    return found["model"] != "foreign"


@pytest.mark.parametrize(
    ("attack", "guard"), [(endless_layers, "bounds"), (foreign_weights, "index")], ids=["layers", "index"]
)
def test_a_checkpoint_is_refused_and_its_guard_does_that(attacked, attack: Callable, guard):
    try:
        with attacked.switched(off=["lock"]):
            assert attack(attacked), "the attack succeeded"
            assert attacked.me.ask("Hello")["done"]  # by the model that was there before
        with attacked.switched(off=["lock", guard]):
            assert not attack(attacked), "without its guard the attack should have succeeded"
    finally:
        with attacked.switched(off=["lock"]):
            assert load(attacked, "tiny")["status"] == "ready"
    assert attacked.me.ask("Hello")["done"]
