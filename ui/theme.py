"""Colours and shapes that Gradio's own widgets take; the panels' are in assets/*.css."""

from __future__ import annotations

import gradio as gr

_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # no font is fetched
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

THEME = gr.themes.Base(
    primary_hue="teal",
    secondary_hue="teal",
    neutral_hue="slate",
    radius_size="md",
    font=_FONT,
    font_mono=_MONO,
).set(
    body_background_fill="#f6f8fa",
    body_background_fill_dark="#0e1420",
    block_background_fill="white",
    block_background_fill_dark="#151d2b",
    block_border_width="0px",
    block_shadow="none",
    # The question for a password gets no style sheet, only these.
    background_fill_primary="#f6f8fa",
    background_fill_primary_dark="#0e1420",
    panel_background_fill="white",
    panel_background_fill_dark="#151d2b",
    button_primary_background_fill="#0f766e",
    button_primary_background_fill_hover="#0d9488",
    button_primary_border_color="#0f766e",
    input_border_width="1px",
    input_border_color="#d9e0e8",
    input_border_color_dark="#2b384d",
    input_background_fill="white",
    input_background_fill_dark="#151d2b",
    button_secondary_background_fill="white",
    button_secondary_background_fill_dark="#1b2536",
    button_secondary_border_color="#d9e0e8",
    button_secondary_border_color_dark="#2b384d",
)
