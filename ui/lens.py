"""The Lens panel: where words looked, what cells say, where patches look in the tower, boxes in answers."""

from __future__ import annotations

from ui.panel import Panel, template
from ui.service import Run, Service

SCRIPTS = ("lens.js", "lens_more.js")


class Lens(Panel):
    """Asks the service for what somebody looks at, when they look."""


def create(service: Service) -> Lens:
    def ask(request):
        return service.glass.ask(request)

    return Lens(template("lens.html"), SCRIPTS, elem_id="lens", server_functions=[ask])


def render(run: Run) -> dict:
    """The panel's value for one turn: only its name, everything else is asked for."""
    return {"run": run.run_id, "pick": len(run.trace.sequence.media) - 1}
