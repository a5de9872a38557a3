"""The Tokens panel: where every token comes from, how full the context is, how long things took."""

from __future__ import annotations

from ui.draw import token_data
from ui.panel import Panel, template
from ui.service import Run


class Tokens(Panel):
    """Arithmetic of every medium, totals by kind, context gauge and timing."""


def create() -> Tokens:
    return Tokens(template("tokens.html"), "tokens.js", elem_id="tokens")


def render(run: Run) -> dict:
    """The panel's value for one turn."""
    return token_data(run)
