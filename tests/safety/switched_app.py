"""The app, with a switch for each of its guards: a test that passes with its guard off shows nothing.

The switches are a JSON file that is read anew at each look; its name is in SWITCHES. ``off`` lists guards,
``allowance`` changes what a client may do, ``fail`` makes the model fail in its next step.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import av
import gradio as gr
import torch
from gradio.queueing import Queue
from gradio.routes import App
from gradio_client import utils as client_utils
from PIL import Image, PngImagePlugin

sys.path.insert(0, str(Path(__file__).parents[2]))

from ui import chat, clients, events, forms, guard, model_panel, panel
from ui.build import build, launch
from ui.service import Choice, Service, backend, service, telling
from ui.serving import Serving
from vlm.families import bounds, checkpoint
from vlm.inputs import clips, containers, images, media, sampling
from vlm.records import InputError
from vlm.weights import load
from vlm.weights.load import INDEX

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
    switched(gr.utils, "is_allowed_file", "uploads only", lambda *_, **__: (True, "allowed"))
    switched(client_utils, "strip_invalid_filename_characters", "file names", lambda name, *_: name)
    Service.locked = property(lambda self: not off("lock"), lambda self, value: None)


class Bound(int):
    """A limit that holds while its guard is on: ``value > bound`` asks the switches."""

    def __new__(cls, value: int, guard_name: str):
        bound = super().__new__(cls, value)
        bound.guard = guard_name
        return bound

    def __lt__(self, other) -> bool:
        return not off(self.guard) and int(self) < other

    def __rmul__(self, other) -> Bound:
        return Bound(other * int(self), self.guard)


def switch_reading() -> None:
    """What guards a reader, where it is the app itself: with the sandbox off."""
    for owner, name, guard_name in (
        (images, "MAX_PIXELS", "megapixels"),
        (Image, "MAX_IMAGE_PIXELS", "megapixels"),
        (clips, "MAX_FRAME_PIXELS", "frame size"),
        (PngImagePlugin, "MAX_TEXT_MEMORY", "comments"),
    ):
        setattr(owner, name, Bound(getattr(owner, name), guard_name))
    switched(PngImagePlugin, "_safe_zlib_decompress", "comments", zlib.decompress)
    switched(media, "_no_media", "other files", lambda head: None)
    for module in (media, containers):
        switched(module, "open_container", "formats", lambda path: av.open(str(path)))
    switched(sampling, "_count", "frames", lambda total, fps, *_: min(1000, int(total / fps * 2)))


def switch_weights() -> None:
    def refuse(config):
        raise InputError(f"{config.decoder.num_layers} layers would be built")

    build = checkpoint.VisionLanguageModel
    switched(bounds, "check", "bounds", lambda config: config)
    checkpoint.VisionLanguageModel = lambda config: (refuse if off("bounds") else build)(config)
    switched(
        load, "_shards", "index", lambda folder: [folder / n for n in load._named_in_index(folder / INDEX)]
    )


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


class Handed:
    """An attribute that the app hands to Gradio; not there while its guard is off."""

    def __init__(self, owner: type, name: str, guard_name: str):
        self.name, self.guard = name, guard_name
        setattr(owner, name, self)

    def __get__(self, owner, kind):
        return None if off(self.guard) else vars(owner).get(self.name)

    def __set__(self, owner, value):
        vars(owner)[self.name] = value


def switch_gradio() -> None:
    """What Gradio guards by itself where it is told to."""
    Handed(gr.Blocks, "max_file_size", "file size")
    Handed(Queue, "max_size", "queue")
    Handed(App, "auth", "auth")


if __name__ == "__main__":
    switch_guards()
    switch_reading()
    switch_weights()
    switch_model()
    switch_gradio()
    serving = Serving(
        port=int(sys.argv[-1]),
        auth=("me", "secret"),
        keep_hours=KEEP / 3600,
        queue_size=4,
        max_file_size="4mb",
    )
    app = Service(choice=Choice("tiny", device="cpu"), reading=backend.Reading(256 * 2**20, 5))
    launch(build(app, serving), app, serving)
