"""The sliders for a turn's pictures and clips: before sending, and for the other side of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.service import ModelFacts


@dataclass(frozen=True)
class Sliders:
    """They begin where the model's own limits are; with ``half`` at half of the picture's edge."""

    edge: gr.Slider
    fps: gr.Slider
    max_frames: gr.Slider
    nearest: gr.Checkbox
    half: bool = False

    @property
    def all(self) -> list[gr.Slider | gr.Checkbox]:
        return [self.edge, self.fps, self.max_frames, self.nearest]

    def ranges(self, facts: ModelFacts) -> dict:
        """For another model: from one merged cell, or frame, to all that it takes."""
        cell, largest = facts.cell, facts.largest_edge
        edge = max(cell, largest // 2 // cell * cell) if self.half else largest
        return {
            self.edge: gr.Slider(minimum=cell, maximum=largest, value=edge, step=cell),
            self.fps: gr.Slider(minimum=0.5, maximum=max(8, facts.fps), value=facts.fps, step=0.5),
            self.max_frames: gr.Slider(minimum=1, maximum=facts.max_frames, value=facts.max_frames, step=1),
        }


def create(elem_id: str, half: bool = False) -> Sliders:
    """A row of them, with the embedded model's ranges."""
    with gr.Row(elem_id=elem_id):
        look = {"min_width": 120, "buttons": []}
        edge = gr.Slider(32, 192, 96 if half else 192, step=32, label="Picture size (px)", **look)
        fps = gr.Slider(0.5, 8, 2, step=0.5, label="Frames a second", **look)
        frames = gr.Slider(1, 8, 8, step=1, label="Most frames", **look)
        nearest = gr.Checkbox(
            label="Nearest key frames", info="Quicker, less exact; large JPEGs too.", min_width=120
        )
    return Sliders(edge, fps, frames, nearest, half)
