"""The cost card: what a question will cost before it is sent, and the sliders that change it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ui import sliders
from ui.panel import Panel, template
from ui.service import Cost
from ui.sliders import Sliders


class CostPanel(Panel):
    """One line a file, and what is left of the context."""


@dataclass(frozen=True)
class CostCard:
    """The card's widgets."""

    panel: CostPanel
    sliders: Sliders


def create() -> CostCard:
    """Shown only while files wait in the box (see style.css)."""
    panel = CostPanel(template("cost.html"), "cost.js", elem_id="cost")
    return CostCard(panel, sliders.create("detail"))


def render(cost: Cost | None) -> dict | None:
    return asdict(cost) if cost and cost.media else None
