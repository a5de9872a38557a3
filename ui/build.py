"""The page: every panel is created, then events are wired."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import suppress
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from ui import (
    anatomy,
    api,
    chat,
    compare,
    header,
    lens,
    model_panel,
    patch_grid,
    positions,
    run_panel,
    tokens,
)
from ui.clients import Clients
from ui.ending import serve_until_told
from ui.events import Events
from ui.examples import read_examples
from ui.forms import bound_form_fields
from ui.guard import Guard
from ui.panel import STYLES, warn
from ui.service import Refused, Service
from ui.serving import Serving
from ui.state import UserSession
from ui.store import Sweeper
from ui.theme import THEME

DRAWN = 1.5  # seconds that a page opened at once takes to be drawn, and twice as long beside a model's import
SESSIONS = 1000  # pages at a time; beyond, the one that was not used for longest is forgotten
COSTLY = ("turn", "inspect", "load", "compare")  # calls of these are counted as questions
HIDDEN = {"show_progress": "hidden", "api_visibility": "private"}
QUICK = {"queue": False, **HIDDEN}


def build(service: Service, serving: Serving = Serving()) -> gr.Blocks:
    """The whole page; the model may still be on its way."""
    examples = read_examples()
    keep = max(1, int(serving.allowance.keep_seconds))
    with gr.Blocks(
        title=header.TITLE, delete_cache=(max(1, min(600, keep // 4)), keep), fill_width=True,
        analytics_enabled=False,
    ) as page:  # fmt: skip
        user = gr.State(UserSession(), delete_callback=UserSession.forget)
        head = header.create(service)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=5, min_width=340, elem_id="left"):
                talk = chat.create(examples, embedded=service.choice.model == "tiny")
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
                        sides = compare.create(service)
                    with gr.Tab("Run"):
                        figures = run_panel.create()
                    with gr.Tab("Model"):
                        model = model_panel.create(service)
        panels = {
            grid: patch_grid, glass: lens, place: positions, count: tokens, inside: anatomy,
            sides.panel: compare, figures: run_panel,
        }  # fmt: skip
        events = Events(service, talk, turn, panels, figures, head, page.GRADIO_CACHE)
        _wire_chat(events, examples, user)
        _wire_cost(events, user)
        _wire_compare(events, sides, user)
        _wire_model(page, events, model, sides, examples)
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
    triggers = [talk.box.change, *(slider.change for slider in talk.cost.sliders.all)]
    gr.on(triggers, events.cost, inputs, talk.cost.panel, trigger_mode="always_last", **QUICK)


def _wire_compare(events: Events, sides: compare.Compare, user: gr.State) -> None:
    run = compare.runner(events.service, sides, events.settings_of)
    shown = [sides.panel, sides.go]
    # Alone: it may load a second model beside the one in use.
    sides.go.click(
        run,
        [events.turn, user, *sides.settings],
        shown,
        concurrency_limit=1,
        concurrency_id="compare",
        **HIDDEN,
    )


def _wire_model(
    page: gr.Blocks, events: Events, model: model_panel.ModelPanel, sides: compare.Compare, examples
) -> None:
    """The picker, and what a page shows while a model is on its way, its own or another person's."""
    service, talk = events.service, events.talk
    suited = [*talk.cost.sliders.all, *sides.sliders.all, *talk.examples, talk.chatbot, model.offer]
    shown = [events.head, model.facts, model.load, model.model, *suited]

    def follow():
        for facts in model_panel.follow(service):
            busy = facts["state"] == "loading"
            shows = {
                events.head: header.render(service),
                model.facts: facts,
                model.load: gr.Button(interactive=not busy),
            }
            if (known := service.facts()) and not busy:  # in one go: a slider set later stays
                shows |= talk.cost.sliders.ranges(known) | sides.sliders.ranges(known)
                shows |= chat.suit(talk, examples, embedded=bool(known.knows))
            yield shows
        if service.facts():
            yield {model.offer: model_panel.offer(service)}

    def load(*choice):
        if model_panel.begin(service, *choice):
            yield from follow()
            if service.loading().state == "failed":
                warn(service.loading().text)
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
    loads = free | {"concurrency_id": "load"}
    model.load.click(load, [model.model, *how], shown, **loads)
    model.offer.click(take_offer, how, shown, **loads)


def launch(page: gr.Blocks, service: Service, serving: Serving = Serving()) -> None:
    """Serve the page until interrupted; the model is loaded once the page answers.

    Raises:
        OSError: the port cannot be had.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    bound_form_fields()
    options = {
        "theme": THEME,
        "css_paths": STYLES,
        "footer_links": [],
        "app_kwargs": {"middleware": [_guard(page, serving)]},
        "max_file_size": serving.max_file_size,
        "allowed_paths": [],
        "ssr_mode": False,
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "strict_cors": True,
        "state_session_capacity": SESSIONS,
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
        soon = threading.Timer(DRAWN, _load_first, [service])
        soon.daemon = True
        soon.start()
    # Behind Gradio's own cleaning, which does not know of uploads that broke off.
    keep = 1.5 * serving.allowance.keep_seconds
    sweeper = Sweeper(Path(page.GRADIO_CACHE), keep, page.state_holder)
    try:
        serve_until_told(page, service, serving.grace)
    finally:
        sweeper.close()


def _guard(page: gr.Blocks, serving: Serving) -> Middleware:
    costly = [call for call in page.fns.values() if call.concurrency_id in COSTLY]
    return Middleware(
        Guard,
        host="" if serving.share else serving.host,
        hosts=serving.allowed_hosts,
        clients=Clients(serving.allowance, page.GRADIO_CACHE),
        questions=[call._id for call in costly] + [call.api_name for call in costly if call.api_name],
    )


def _load_first(service: Service) -> None:
    """The model that was chosen at the start, unless a person was faster with another one."""
    with suppress(Refused):
        if service.engine is None:
            service.load(service.choice)
