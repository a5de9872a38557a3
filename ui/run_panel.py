"""The Run panel: what the turn took, live while it is written: time, speed, memory, backend and why."""

from __future__ import annotations

from ui.draw import run_data, timing
from ui.panel import Panel, template
from ui.service import Run


class RunPanel(Panel):
    """A bar of stages and the figures."""


def create() -> RunPanel:
    return RunPanel(template("run.html"), "run.js", elem_id="run")


def render(run: Run) -> dict:
    """The panel's value for one turn."""
    return run_data(run)


def live(figures: dict) -> dict:
    """The panel's value while the answer is written."""
    return {
        "live": True,
        "stage": figures.get("stage", ""),
        "stages": [],
        "stats": timing(figures),
        "notes": [],
    }
