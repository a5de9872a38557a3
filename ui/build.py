"""The page: every panel is created, then events are wired."""

from __future__ import annotations

import html
import logging

import gradio as gr
from starlette.middleware import Middleware

from ui import chat, patch_grid, positions, tokens
from ui.draw import short_number
from ui.events import Events
from ui.guard import Guard
from ui.panel import ASSETS
from ui.service import Service
from ui.state import UserSession
from ui.theme import THEME

TITLE = "Glassbox VL"
TINY = "The embedded model knows drawn shapes: their colour, size, number and place, and how they move."
FAMILIES = {
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen3_vl": "Qwen3-VL",
    "qwen3_vl_moe": "Qwen3-VL MoE",
}


def build(service: Service) -> gr.Blocks:
    """The whole page for one loaded model."""
    with gr.Blocks(title=TITLE, delete_cache=(3600, 86400), fill_width=True, analytics_enabled=False) as page:
        user = gr.State(UserSession(), delete_callback=UserSession.forget)
        gr.HTML(_header(service), elem_id="header", js_on_load=None, apply_default_css=False)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=5, min_width=340, elem_id="left"):
                talk = chat.create(hint=TINY if service.facts().name == "tiny" else "")
            with gr.Column(scale=6, min_width=340, elem_id="right"):
                turn = gr.Dropdown(
                    [], label="Turn shown", visible=False, elem_id="turn", filterable=False, container=False
                )
                with gr.Tabs(elem_id="panels"):
                    with gr.Tab("Patches"):
                        grid = patch_grid.create()
                    with gr.Tab("Positions"):
                        place = positions.create()
                    with gr.Tab("Tokens"):
                        count = tokens.create()
        panels = {grid: patch_grid, place: positions, count: tokens}
        _wire(page, Events(service, talk, turn, panels, page.GRADIO_CACHE), user)
    return page.queue(max_size=32)


def _wire(page: gr.Blocks, events: Events, user: gr.State) -> None:
    """Send, examples, stop, clear, and the choice of a turn."""
    talk, panels = events.talk, list(events.panels)
    settings = [user, talk.max_new_tokens, talk.temperature]
    private = {"show_progress": "hidden", "api_visibility": "private"}
    # Four turns may run at once: one answers, the others are told that they wait for it.
    running = {"outputs": events.outputs, "concurrency_limit": 4, "concurrency_id": "turn", **private}
    quick = {"queue": False, **private}
    talk.box.submit(events.send, [talk.box, *settings], **running)
    for button, (file, _, question) in zip(talk.examples, chat.TRY, strict=True):
        button.click(events.example(file, question), settings, **running)
    talk.box.stop(UserSession.halt, user, None, **quick)
    talk.clear.click(events.clear, user, [talk.chatbot, talk.status, events.turn, *panels], **quick)
    events.turn.input(events.show, events.turn, panels, **private)  # queued, so that its warning shows
    # Written back once, so that Gradio knows the state's age and frees it after the page is closed.
    page.load(lambda session: session, user, user, **quick)


def _header(service: Service) -> str:
    """Static markup; the model's own words are escaped."""
    facts = service.facts()
    shown = (
        ("model", facts.name),
        ("architecture", FAMILIES.get(facts.family, facts.family)),
        ("parameters", short_number(facts.parameters)),
        ("device", facts.device),
        ("precision", facts.dtype),
        ("attention", facts.attention),
    )
    chips = "".join(f"<span><small>{name}</small>{html.escape(value)}</span>" for name, value in shown)
    return (
        f'<div class="gb-head"><div><h1>{TITLE}</h1>'
        "<p>Chat with a vision-language model and see what it sees.</p>"
        f'</div><div class="gb-model">{chips}</div></div>'
    )


def launch(page: gr.Blocks, host: str, port: int) -> None:
    """Serve the page until interrupted.

    Raises:
        OSError: the port cannot be had.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    options = {
        "theme": THEME,
        "css_paths": ASSETS / "style.css",
        "footer_links": [],
        "app_kwargs": {"middleware": [Middleware(Guard, host=host)]},
        "max_file_size": "100mb",
        "allowed_paths": [],
        "ssr_mode": False,
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "strict_cors": True,
    }
    try:
        page.launch(server_name=host, server_port=port, **options)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: choose another with --port") from error
