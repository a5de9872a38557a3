"""The app, with a switch for each of its guards: a test that passes with its guard off shows nothing.

The switches are a JSON file that is read anew at each look; its name is in SWITCHES. ``off`` lists guards,
``allowance`` changes what a client may do, ``fail`` makes the model fail in its next step.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import gradio as gr
import torch
from gradio.routes import App

sys.path.insert(0, str(Path(__file__).parents[2]))

from ui import chat, clients, events, forms, guard, model_panel, panel
from ui.build import build, launch
from ui.service import Choice, Service, backend, service, telling
from ui.serving import Serving

SWITCHES = Path(os.environ["SWITCHES"])
KEEP = 12  # seconds that uploads stay
FAILURES = {
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cuda": RuntimeError("CUDA error: device-side assert triggered"),
    "bug": KeyError("/root/secret/path"),
}


def switches() -> dict:
    return json.loads(SWITCHES.read_text())


def off(name: str) -> bool:
    return name in switches().get("off", ())


def switched(owner: object, name: str, guard_name: str, without) -> None:
    """Let ``owner.name`` be ``without`` while the guard is off."""
    real = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: (without if off(guard_name) else real)(*args, **kwargs))


class Allowance:
    """The allowance of the moment."""

    def __get__(self, owner, kind):
        return replace(owner.__dict__["settled"], **switches().get("allowance", {}))

    def __set__(self, owner, value):
        owner.__dict__["settled"] = value


def switch_guards() -> None:
    objection = guard.Guard.objection
    guard.Guard.objection = lambda *args: None if (found := objection(*args)) and off(found[1]) else found
    switched(guard, "_names_remote_file", "remote files", lambda body: False)
    switched(guard, "_too_long", "message size", lambda body: False)
    switched(clients.Clients, "wait_to_ask", "rate", lambda *_: 0.0)
    switched(clients.Clients, "charge", "quota", lambda *_: True)
    switched(clients.Clients, "room_on_disk", "disk", lambda *_: True)
    clients.Clients.allowance = Allowance()
    for module in (events, model_panel):
        switched(module, "warn", "escaped warnings", panel.gr.Warning)
    switched(chat, "plain", "escaped answers", lambda text: text)
    switched(telling, "without_paths", "paths", lambda text: text)
    switched(service, "without_paths", "paths", lambda text: text)
    switched(service, "_check_count", "files", lambda files: None)
    headers = guard.Guard._with_headers
    guard.Guard._with_headers = lambda self, send: send if off("headers") else headers(self, send)
    inspect, opening = backend.inspect, backend.open_media
    backend.inspect = lambda files, model, prompt, open_media: inspect(
        files, model, prompt, opening if off("sandbox") else open_media
    )
    switched(forms, "too_long", "form fields", lambda *_: False)
    Service.locked = property(lambda self: not off("lock"), lambda self, value: None)


def switch_model() -> None:
    """Answers to ``SAY: …`` are what stands there; the next step fails where that is asked for."""
    answer, open_engine = backend.events, backend.open_engine

    def events_of(chat, ask, index, stopped):
        for event in answer(chat, ask, index, stopped):
            if isinstance(event, backend.Trace) and ask.text.startswith("SAY: "):
                event = replace(event, answer=ask.text.removeprefix("SAY: "))
            yield event

    def failing(choice):
        engine = open_engine(choice)
        step = engine.model.step

        def fail_or_step(*args, **kwargs):
            if name := switches().get("fail"):
                SWITCHES.write_text(json.dumps(switches() | {"fail": None}))
                raise FAILURES[name]
            return step(*args, **kwargs)

        engine.model.step = fail_or_step
        return engine

    backend.events, backend.open_engine = events_of, failing


def switch_gradio(page: gr.Blocks) -> None:
    """What Gradio guards by itself where it is told to."""
    type(page).max_file_size = property(lambda self: None if off("file size") else 2**21, lambda *_: None)
    queue = type(page._queue)
    queue.max_size = property(lambda self: None if off("queue") else 4, lambda *_: None)
    App.auth = property(lambda self: None if off("auth") else self.__dict__.get("given"), keep_auth)


def keep_auth(app: App, auth) -> None:
    app.__dict__["given"] = auth


if __name__ == "__main__":
    switch_guards()
    switch_model()
    serving = Serving(port=int(sys.argv[-1]), auth=("me", "secret"), keep_hours=KEEP / 3600)
    app = Service(choice=Choice("tiny", device="cpu"), reading=backend.Reading(256 * 2**20, 5))
    page = build(app, serving)
    switch_gradio(page)
    launch(page, app, serving)
