"""The Anatomy panel: the model as a diagram with one turn's shapes on every edge, and the families."""

from __future__ import annotations

from ui.panel import Panel, template
from ui.service import Run, Service


class Anatomy(Panel):
    """Stages that fold open to the module tree."""


def create(service: Service) -> Anatomy:
    def ask(request):
        return service.glass.ask(request)

    return Anatomy(template("anatomy.html"), "anatomy.js", elem_id="anatomy", server_functions=[ask])


def render(run: Run) -> dict:
    """The panel's value for one turn: only its name, the rest is asked for."""
    return {"run": run.run_id}
