"""The base of everything the page draws itself: an HTML component fed with data, never with markup."""

from __future__ import annotations

import html
import json
from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).parent / "assets"
STYLES = [ASSETS / name for name in ("style.css", "panels.css", "lenses.css")]  # in this order


class Panel(gr.HTML):
    """A static template and a script that draws ``value``, plain data, into it.

    The data travels as one JSON string: Gradio then neither walks through it nor wraps it in proxies,
    and the script puts every text in through ``textContent``, so none of it can become markup.
    """

    def __init__(self, template: str = "", script: str | tuple[str, ...] | None = None, **kwargs):
        if script:
            kwargs["js_on_load"] = scripts("common.js", *((script,) if isinstance(script, str) else script))
        super().__init__(html_template=template, apply_default_css=False, **kwargs)

    def __getattr__(self, name: str):
        # Gradio searches the whole script for an event of every name that is asked for, dozens of times a view.
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def postprocess(self, value):
        return value if value is None or isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def scripts(*names: str) -> str:
    """The text of some scripts, one behind the other."""
    return "".join((ASSETS / name).read_text() for name in names)


def template(name: str) -> str:
    """The static markup of a panel."""
    return (ASSETS / name).read_text()


def warn(text: str) -> None:
    """A warning on the page. Toasts are rendered as HTML, so whatever could be markup is escaped."""
    gr.Warning(html.escape(text, quote=False))
