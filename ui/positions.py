"""The Positions panel: where M-RoPE puts every token in time, height and width."""

from __future__ import annotations

from ui.draw import position_data
from ui.panel import Panel, template
from ui.service import Run

SCRIPTS = ("positions.js", "positions_table.js")


class Positions(Panel):
    """Lines over the sequence, heat maps over a medium's cells, and the table of all tokens."""


def create() -> Positions:
    return Positions(template("positions.html"), SCRIPTS, elem_id="positions")


def render(run: Run) -> dict:
    """The panel's value for one turn."""
    return position_data(run)
