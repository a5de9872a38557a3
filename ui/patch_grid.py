"""The Patches panel: the picture as the model saw it, with the grid of patches and merged cells."""

from __future__ import annotations

from ui.draw import grid_data
from ui.panel import Panel, template
from ui.service import Run


class PatchGrid(Panel):
    """Hover or arrow keys show a cell; a click holds it."""


def create() -> PatchGrid:
    return PatchGrid(template("patch_grid.html"), "patch_grid.js", elem_id="patch-grid")


def render(run: Run) -> dict:
    """The panel's value for one turn."""
    return grid_data(run)
