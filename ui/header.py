"""The header: the page's name and the model that answers."""

from __future__ import annotations

from ui.draw import short_number
from ui.panel import Panel
from ui.service import Service

TITLE = "Glassbox VL"
FAMILIES = {
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen3_vl": "Qwen3-VL",
    "qwen3_vl_moe": "Qwen3-VL MoE",
}
_TEMPLATE = (
    f'<div class="gb-head"><div><h1>{TITLE}</h1>'
    "<p>Chat with a vision-language model and see what it sees.</p>"
    '</div><div class="gb-model"></div></div>'
)


class Header(Panel):
    """Title on the left, the model in use on the right."""


def create(service: Service) -> Header:
    return Header(_TEMPLATE, "header.js", value=render(service), elem_id="header")


def render(service: Service) -> dict:
    """What stands on the right: the model's chips, and what is being loaded."""
    facts, loading = service.facts(), service.loading()
    chips = []
    if facts:
        chips = [
            ("model", facts.name),
            ("architecture", FAMILIES.get(facts.family, facts.family)),
            ("parameters", short_number(facts.parameters) if facts.parameters else ""),
            ("device", facts.device),
            ("precision", facts.dtype if facts.quantize == "none" else facts.quantize),
            ("attention", facts.attention),
        ]
    chips = [(name, value) for name, value in chips if value]
    failed_beside_a_model = loading.state == "failed" and facts is not None  # the Model panel tells of it
    note = "" if loading.state == "ready" or failed_beside_a_model else loading.text
    return {"chips": chips, "note": note, "state": loading.state}
