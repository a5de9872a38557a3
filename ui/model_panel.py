"""The Model panel: what the model in use can do, and the picker of another one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gradio as gr

from ui import machine
from ui.panel import Panel, template, warn
from ui.service import Refused, Service

LOCKED = "Whoever runs this page has settled the model: here it cannot be changed."
QUANTISE = ["auto", "none", "int8", "nf4", "int4"]
ATTENTION = ["auto", "flash", "varlen", "sdpa", "eager"]
DEVICES = ["auto", "cpu", "cuda"]


class ModelFactsPanel(Panel):
    """Facts of the model in use, and what this machine could run besides."""


@dataclass(frozen=True)
class ModelPanel:
    """The panel's widgets."""

    facts: ModelFactsPanel
    model: gr.Dropdown
    quantize: gr.Dropdown
    attention: gr.Dropdown
    device: gr.Dropdown
    load: gr.Button
    offer: gr.Button


def create(service: Service) -> ModelPanel:
    choice, locked = service.choice, service.locked
    facts = ModelFactsPanel(template("model.html"), "model.js", value=render(service), elem_id="model-facts")
    if locked:
        gr.HTML(f"<p>{LOCKED}</p>", elem_id="model-locked", js_on_load=None)
    with gr.Row(elem_id="model-pick", visible=not locked):
        model = gr.Dropdown(
            ["tiny", *machine.HUB.values()], value=choice.model, allow_custom_value=True,
            label="Model: tiny (embedded), hub id or folder", elem_id="pick", scale=3, min_width=240,
        )  # fmt: skip
        quantize = gr.Dropdown(QUANTISE, value=choice.quantize, label="Quantise", min_width=90)
        attention = gr.Dropdown(ATTENTION, value=choice.attention, label="Attention", min_width=90)
        device = gr.Dropdown(DEVICES, value=choice.device, label="Device", min_width=90)
    with gr.Row(elem_id="model-go", visible=not locked):
        load = gr.Button("Load", variant="primary", size="sm", elem_id="load", scale=0, min_width=110)
        offer = gr.Button("", size="sm", elem_id="offer", visible=False, min_width=160)
    return ModelPanel(facts, model, quantize, attention, device, load, offer)


def begin(service: Service, model: str, quantize: str, attention: str, device: str) -> bool:
    """Start loading; False, and a warning on the page, where that cannot be."""
    if not isinstance(model, str) or not model.strip():
        warn("Choose a model first.")
        return False
    try:
        service.choose(
            replace(
                service.choice, model=model.strip(), quantize=quantize, attention=attention, device=device
            )
        )
    except Refused as error:
        warn(str(error))
        return False
    return True


def follow(service: Service) -> Iterator[dict]:
    """The panel's value while a model is loaded, and once after."""
    while service.loading().state == "loading":
        yield render(service)
        time.sleep(0.25)
    yield render(service)


def render(service: Service) -> dict:
    """Facts and what may be loaded instead."""
    facts, loading = service.facts(), service.loading()
    rows = []
    if facts:
        rows = [
            [
                "Weights",
                f"{facts.weights_bytes / 2**20:,.0f} MiB" if facts.weights_bytes else "elsewhere",
                "",
            ],
            ["Context", f"{facts.context_length:,} tokens", ""],
            ["Quantisation", facts.quantize, facts.quantize_reason],
        ]
    return {
        "name": facts.name if facts else "",
        "can": facts.knows if facts else "",
        "cannot": facts.does_not_know if facts else "",
        "rows": rows,
        "machine": machine.describe(service.free_bytes()) if facts else "",
        "state": loading.state,
        "text": loading.text,
        "seconds": round(loading.seconds, 1),
    }


def next_better(service: Service) -> machine.Offer | None:
    """The next better official model that this machine can hold."""
    facts = service.facts()
    gpu = bool(facts) and facts.device.startswith("cuda")
    return machine.next_better(service.offers(), facts.parameters if facts else 0, service.free_bytes(), gpu)


def offer(service: Service) -> gr.Button:
    """`next_better` as a button; hidden where there is none."""
    better = next_better(service)
    words = f"Load the next better one for this machine: {better.hub} ({better.words})" if better else ""
    return gr.Button(words, visible=better is not None)
