"""The page: every panel is created, then events are wired."""

from __future__ import annotations

import html
import logging
import sys
from dataclasses import dataclass

import gradio as gr
from starlette.middleware import Middleware

from ui import (
    anatomy,
    api,
    chat,
    compare,
    cost,
    header,
    lens,
    model_panel,
    patch_grid,
    positions,
    run_panel,
    tokens,
)
from ui.events import Events
from ui.examples import read_examples
from ui.guard import Guard
from ui.panel import ASSETS
from ui.service import Service
from ui.state import UserSession
from ui.theme import THEME

TINY = (
    "The embedded model knows simple drawn shapes and nothing else. "
    "The Model tab says more, and offers a better one."
)
DRAWN = 1.5  # seconds that a page opened at once takes to be drawn, and twice as long beside a model's import
HIDDEN = {"show_progress": "hidden", "api_visibility": "private"}
QUICK = {"queue": False, **HIDDEN}


@dataclass(frozen=True)
class Serving:
    """How the page is served."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = None
    queue_size: int = 32
    max_file_size: str = "100mb"
    mcp: bool = False


def build(service: Service, serving: Serving = Serving()) -> gr.Blocks:
    """The whole page; the model may still be on its way."""
    examples = read_examples()
    with gr.Blocks(
        title=header.TITLE, delete_cache=(3600, 86400), fill_width=True, analytics_enabled=False
    ) as page:
        user = gr.State(UserSession(), delete_callback=UserSession.forget)
        head = header.create(service)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=5, min_width=340, elem_id="left"):
                talk = chat.create(examples, TINY if service.choice.model == "tiny" else "")
            with gr.Column(scale=6, min_width=340, elem_id="right"):
                turn = gr.Dropdown(
                    [], label="Turn shown", visible=False, elem_id="turn", filterable=False, container=False
                )
                with gr.Tabs(elem_id="panels"):
                    with gr.Tab("Patches"):
                        grid = patch_grid.create()
                    with gr.Tab("Lens"):
                        glass = lens.create(service)
                    with gr.Tab("Positions"):
                        place = positions.create()
                    with gr.Tab("Tokens"):
                        count = tokens.create()
                    with gr.Tab("Anatomy"):
                        inside = anatomy.create(service)
                    with gr.Tab("Compare"):
                        sides = compare.create()
                    with gr.Tab("Run"):
                        figures = run_panel.create()
                    with gr.Tab("Model"):
                        model = model_panel.create(service.choice)
        panels = {
            grid: patch_grid, glass: lens, place: positions, count: tokens, inside: anatomy,
            sides.panel: compare, figures: run_panel,
        }  # fmt: skip
        events = Events(service, talk, turn, panels, figures, head, page.GRADIO_CACHE)
        _wire_chat(events, examples, user)
        _wire_cost(events, user)
        _wire_compare(events, sides, user)
        _wire_model(page, events, model, sides)
        # Written back once, so that Gradio knows the state's age and frees it after the page is closed.
        page.load(lambda session: session, user, user, **QUICK)
        api.create(service)
    return page.queue(max_size=serving.queue_size)


def _wire_chat(events: Events, examples, user: gr.State) -> None:
    """Send, examples, edit, retry, stop, undo, clear, export, and the choice of a turn."""
    talk, panels = events.talk, list(events.panels)
    settings = [user, *talk.settings]
    # Four turns may run at once: one answers, the others are told that they wait for it.
    running = {"outputs": events.outputs, "concurrency_limit": 4, "concurrency_id": "turn", **HIDDEN}
    talk.box.submit(events.send, [talk.box, *settings], **running)
    talk.chatbot.edit(events.edit, settings, **running)
    talk.chatbot.retry(events.retry, settings, **running)
    for button, example in zip(talk.examples, examples, strict=True):
        button.click(events.example(example), settings, **running)
    for number, button in enumerate(talk.ways):
        button.click(events.choose(number), user, **running)
    talk.box.stop(UserSession.halt, user, None, **QUICK)
    changed = [talk.chatbot, talk.status, talk.box, *talk.ways, events.turn, *panels]
    talk.chatbot.undo(events.undo, user, changed, **HIDDEN)
    talk.undo.click(events.undo, user, changed, **HIDDEN)
    talk.clear.click(events.clear, user, changed, **QUICK)
    talk.export_html.click(events.export_page, user, talk.download, **HIDDEN)
    talk.export_json.click(events.export_json, user, talk.download, **QUICK)
    events.turn.input(events.show, events.turn, panels, **HIDDEN)  # queued, so that its warning shows


def _wire_cost(events: Events, user: gr.State) -> None:
    """The cost follows the box and the sliders; of many changes only the last one matters."""
    talk = events.talk
    inputs = [talk.box, user, *talk.settings]
    triggers = [talk.box.change, *(slider.change for slider in talk.cost.sliders)]
    gr.on(triggers, events.cost, inputs, talk.cost.panel, trigger_mode="always_last", **QUICK)


def _wire_compare(events: Events, sides: compare.Compare, user: gr.State) -> None:
    run = compare.runner(events.service, sides, events.settings_of)
    shown = [sides.panel, sides.go]
    # Alone: it may load a second model beside the one in use.
    sides.go.click(run, [events.turn, user, *sides.settings], shown, concurrency_limit=1, **HIDDEN)


def _wire_model(
    page: gr.Blocks, events: Events, model: model_panel.ModelPanel, sides: compare.Compare
) -> None:
    """The picker, and what a page shows while a model is on its way, its own or another person's."""
    service, card = events.service, events.talk.cost
    shown = [events.head, model.facts, model.load, *card.sliders, model.offer, model.model]
    shown += [sides.edge, sides.fps, sides.frames]

    def follow():
        for facts in model_panel.follow(service):
            busy = facts["state"] == "loading"
            shows = {
                events.head: header.render(service),
                model.facts: facts,
                model.load: gr.Button(interactive=not busy),
            }
            if service.facts() and not busy:  # in one go: a slider set once the model is there stays set
                shows |= cost.ranges(card, service.facts()) | {model.offer: model_panel.offer(service)}
                shows |= compare.ranges(sides, service.facts())
            yield shows

    def load(*choice):
        if model_panel.begin(service, *choice):
            yield from follow()
            if service.loading().state == "failed":
                gr.Warning(html.escape(service.loading().text, quote=False))
        else:
            yield {model.load: gr.Button(interactive=True)}

    def take_offer(quantize, attention, device):
        better = model_panel.next_better(service)
        if better:
            yield {model.model: better.hub}
            yield from load(better.hub, quantize, attention, device)

    free = {"concurrency_limit": None, **HIDDEN}
    how = [model.quantize, model.attention, model.device]
    page.load(follow, None, shown, **free)
    model.load.click(load, [model.model, *how], shown, **free)
    model.offer.click(take_offer, how, shown, **free)


def launch(page: gr.Blocks, service: Service, serving: Serving = Serving()) -> None:
    """Serve the page until interrupted; the model is loaded once the page answers.

    Raises:
        OSError: the port cannot be had.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    options = {
        "theme": THEME,
        "css_paths": ASSETS / "style.css",
        "footer_links": [],
        "app_kwargs": {"middleware": [Middleware(Guard, host="0.0.0.0" if serving.share else serving.host)]},
        "max_file_size": serving.max_file_size,
        "allowed_paths": [],
        "ssr_mode": False,
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "strict_cors": True,
        "share": serving.share,
        "auth": serving.auth,
        "mcp_server": serving.mcp,
    }
    try:
        page.launch(server_name=serving.host, server_port=serving.port, prevent_thread_lock=True, **options)
    except OSError as error:
        raise OSError(
            f"cannot listen on {serving.host} port {serving.port}: choose another with --port"
        ) from error
    sys.setswitchinterval(0.0005)  # seconds; while a model is imported, requests are answered in between
    if service.engine is None:
        service.load_first(DRAWN)
    page.block_thread()
