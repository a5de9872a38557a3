"""The Compare panel: the shown turn once more under other settings, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import gradio as gr

from ui import machine, sliders
from ui.model_panel import QUANTISE
from ui.panel import Panel, template, warn
from ui.service import Choice, Refused, Run, Service, Working
from ui.service.comparing import shown
from ui.sliders import Sliders
from ui.state import Settings, UserSession

SAME = "as it is"


class Comparison(Panel):
    """Two answers, their pictures and their figures."""


@dataclass(frozen=True)
class Compare:
    """The panel and the settings of its right side."""

    panel: Comparison
    sliders: Sliders
    model: gr.Dropdown
    quantize: gr.Dropdown
    go: gr.Button

    @property
    def settings(self) -> list[gr.components.Component]:
        return [*self.sliders.all, self.model, self.quantize]


def create(service: Service) -> Compare:
    def ask(request):
        return service.glass.ask(request)

    media = sliders.create("compare-set", half=True)
    with gr.Row(elem_id="compare-model"):
        model = gr.Dropdown(
            [SAME, "tiny", *machine.HUB.values()], value=SAME, label="Model", allow_custom_value=True,
            scale=2, min_width=180,
        )  # fmt: skip
        quantize = gr.Dropdown([SAME, *QUANTISE[1:]], value=SAME, label="Quantise", min_width=110)
        go = gr.Button("Compare", variant="primary", size="sm", elem_id="compare-go", scale=0, min_width=110)
    panel = Comparison(template("compare.html"), "compare.js", elem_id="compare", server_functions=[ask])
    return Compare(panel, media, model, quantize, go)


def render(run: Run) -> dict:
    """The panel's value: the last comparison of this turn, where there was one."""
    if run.sides:
        return {"run": run.run_id, **shown(run.sides)}
    return {"run": run.run_id, "note": "Choose above what the other side shall have, and press Compare."}


def runner(service: Service, compare: Compare, settings_of: Callable[..., Settings]):
    """The handler of the button."""

    def run(run_id: str, session: UserSession, edge, fps, frames, nearest, model, quantize) -> Iterator[dict]:
        settings = settings_of(256, 0, 0, edge, fps, frames, nearest)
        choice = _choice(service, model, quantize)
        yield {compare.go: gr.Button(interactive=False)}
        try:
            for told in service.compare(session, run_id, settings, choice):
                if isinstance(told, Working):
                    yield {compare.panel: {"run": run_id, "note": told.text + " …"}}
                else:
                    yield {compare.panel: {"run": run_id, **told}}
        except Refused as error:
            warn(str(error))
            yield {compare.panel: {"run": run_id, "note": str(error)}}
        finally:
            yield {compare.go: gr.Button(interactive=True)}

    return run


def _choice(service: Service, model: str, quantize: str) -> Choice | None:
    """Another model for the right side, None where it is the one in use."""
    if model == SAME and quantize == SAME:
        return None
    choice = service.choice if model == SAME else replace(service.choice, model=str(model), engine="local")
    return replace(choice, quantize=choice.quantize if quantize == SAME else str(quantize))
