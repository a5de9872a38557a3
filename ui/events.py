"""What happens when a person sends, stops, clears or picks a turn: session in, updates of widgets out."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import gradio as gr
from gradio.processing_utils import save_file_to_cache

from ui import chat
from ui.panel import Panel
from ui.service import Service
from ui.state import UserSession

GONE = "That turn is no longer kept. Ask again to see it."
BUSY = "An answer is still being written. Stop it first."
Updates = dict[gr.components.Component, object]


@dataclass(frozen=True)
class Events:
    """The page's event handlers; ``panels`` maps each panel to the module that renders it."""

    service: Service
    talk: chat.ChatPanel
    turn: gr.Dropdown
    panels: dict[Panel, ModuleType]
    cache: str  # Gradio's folder for files that it serves

    @property
    def buttons(self) -> list[gr.Button]:
        """The buttons that rest while an answer is written."""
        return [*self.talk.examples, self.talk.clear]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """Everything that a turn may change."""
        return [self.talk.chatbot, self.talk.status, self.talk.box, *self.buttons, self.turn, *self.panels]

    def send(
        self, value: dict | None, session: UserSession, limit: int, temperature: float
    ) -> Iterator[Updates]:
        """Ask what the box holds."""
        value = value or {"text": "", "files": []}
        yield from self._answer(session, value["text"], value["files"], limit, temperature, from_box=True)

    def example(self, file: str, question: str) -> Callable[..., Iterator[Updates]]:
        """A handler that asks ``question`` about an example file in a new chat."""

        def run(session: UserSession, limit: int, temperature: float) -> Iterator[Updates]:
            # A copy under the cache: Gradio serves nothing else. Made anew, since its cleaning may remove it.
            path = save_file_to_cache(chat.EXAMPLES / file, self.cache)
            if not session.busy:
                session.forget()  # small models lose their way among the pictures of earlier examples
            yield from self._answer(session, question, [path], limit, temperature, from_box=False)

        return run

    def clear(self, session: UserSession) -> Updates:
        """Start over: an empty chat and the panels' hints."""
        session.forget()
        shown = {self.talk.chatbot: [], self.talk.status: None}
        return shown | {self.turn: gr.Dropdown(choices=[], visible=False)} | dict.fromkeys(self.panels)

    def show(self, run_id: str) -> Updates:
        """Show an earlier turn in the panels."""
        trace = self.service.trace(run_id) if isinstance(run_id, str) else None
        if trace is None:
            gr.Warning(GONE)
            return dict.fromkeys(self.panels, gr.skip())
        return {panel: module.render(trace) for panel, module in self.panels.items()}

    def _answer(self, session, text, files, limit, temperature, *, from_box: bool) -> Iterator[Updates]:
        if session.busy:
            gr.Warning(BUSY)
            yield {self.talk.status: gr.skip()}
            return
        for view in chat.converse(self.service, session, text, files, int(limit), temperature, from_box):
            if view.warning:
                gr.Warning(html.escape(view.warning, quote=False))  # toasts are rendered as HTML
            yield self._updates(view, session)

    def _updates(self, view: chat.View, session: UserSession) -> Updates:
        box = {"submit_btn": not view.running, "stop_btn": view.running}
        if view.box is not None:
            box["value"] = view.box
        updates = {self.talk.chatbot: view.messages, self.talk.status: view.status}
        updates[self.talk.box] = gr.MultimodalTextbox(**box)
        updates |= {button: gr.Button(interactive=not view.running) for button in self.buttons}
        if view.finished:
            run_id, trace = view.finished.run_id, view.finished.trace
            updates[self.turn] = gr.Dropdown(choices=list(session.runs), value=run_id, visible=True)
            updates |= {panel: module.render(trace) for panel, module in self.panels.items()}
        return updates
