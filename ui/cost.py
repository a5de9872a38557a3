"""The cost card: what a question will cost before it is sent, and the sliders that change it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import gradio as gr

from ui.panel import Panel, template
from ui.service import Cost, ModelFacts


class CostPanel(Panel):
    """One line a file, and what is left of the context."""


@dataclass(frozen=True)
class CostCard:
    """The card's widgets."""

    panel: CostPanel
    edge: gr.Slider
    fps: gr.Slider
    max_frames: gr.Slider

    @property
    def sliders(self) -> list[gr.Slider]:
        return [self.edge, self.fps, self.max_frames]


def create() -> CostCard:
    """Shown only while files wait in the box (see style.css)."""
    panel = CostPanel(template("cost.html"), "cost.js", elem_id="cost")
    with gr.Row(elem_id="detail"):
        edge = gr.Slider(32, 192, 192, step=32, label="Picture size (px)", min_width=120, buttons=[])
        fps = gr.Slider(0.5, 8, 2, step=0.5, label="Frames a second", min_width=120, buttons=[])
        frames = gr.Slider(1, 8, 8, step=1, label="Most frames", min_width=120, buttons=[])
    return CostCard(panel, edge, fps, frames)


def render(cost: Cost | None) -> dict | None:
    return asdict(cost) if cost and cost.media else None


def ranges(card: CostCard, facts: ModelFacts) -> dict:
    """The sliders for another model: from one merged cell, or frame, to all that it takes."""
    cell, largest = facts.cell, facts.largest_edge
    return {
        card.edge: gr.Slider(minimum=cell, maximum=largest, value=largest, step=cell),
        card.fps: gr.Slider(minimum=0.5, maximum=max(8, facts.fps), value=facts.fps, step=0.5),
        card.max_frames: gr.Slider(minimum=1, maximum=facts.max_frames, value=facts.max_frames, step=1),
    }
