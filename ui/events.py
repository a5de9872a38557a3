"""What happens when a person sends, stops, edits or clears: session in, updates of widgets out."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

import gradio as gr
from gradio.processing_utils import save_file_to_cache

from ui import chat, cost, export, header, run_panel
from ui.examples import Example
from ui.panel import Panel, warn
from ui.service import Refused, Service
from ui.service.baking import baked
from ui.state import Ask, Settings, UserSession

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
    figures: Panel  # the one of the panels that moves while an answer is written
    head: Panel
    cache: str  # Gradio's folder for files that it serves

    @property
    def outputs(self) -> list[gr.components.Component]:
        """Everything that a turn may change."""
        talk = self.talk
        shown = [talk.chatbot, talk.status, talk.box, talk.cost.panel, *talk.buttons, *talk.ways]
        return [*shown, self.turn, *self.panels, self.head]

    def send(self, value: dict | None, session: UserSession, *settings) -> Iterator[Updates]:
        """Ask what the box holds."""
        value = value or {"text": "", "files": []}
        ask = Ask(value["text"], tuple(value["files"]), self.settings_of(*settings))
        yield from self._answer(session, ask, from_box=True)

    def example(self, example: Example) -> Callable[..., Iterator[Updates]]:
        """A handler that asks an example's question about its files in a new chat."""

        def run(session: UserSession, *settings) -> Iterator[Updates]:
            # Copies under the cache, for Gradio serves nothing else; made anew, since it cleans up.
            files = tuple(save_file_to_cache(file, self.cache) for file in example.files)
            if not session.busy:
                session.forget()  # small models lose their way among the pictures of earlier examples
            ask = Ask(example.question, files, self.settings_of(*settings))
            yield from self._answer(session, ask, from_box=False)

        return run

    def edit(self, session: UserSession, data: gr.EditData, *settings) -> Iterator[Updates]:
        """Ask an earlier question in other words: its files stay, what came after it goes."""
        text = html.unescape(str(data.value))  # the chat shows tags escaped
        yield from self._again(session, data.index, settings, text)

    def retry(self, session: UserSession, data: gr.RetryData, *settings) -> Iterator[Updates]:
        """Ask a question again as it was."""
        yield from self._again(session, data.index, settings, None)

    def choose(self, number: int) -> Callable[..., Iterator[Updates]]:
        """A handler that asks what did not fit again, with the way out of that number."""

        def run(session: UserSession) -> Iterator[Updates]:
            if session.refused is None or number >= len(session.refused[1]):
                warn(GONE)
                yield {self.talk.status: gr.skip()}
                return
            ask, ways = session.refused
            yield from self._answer(session, replace(ask, choice=ways[number]), from_box=ask.replaces is None)

        return run

    def undo(self, session: UserSession) -> Updates:
        """Take back the last question; it returns to the box with its files."""
        if session.busy:
            warn(BUSY)
            return {self.talk.status: gr.skip()}
        try:
            last = self.service.undo(session)
        except Refused as error:
            warn(str(error))
            return {self.talk.status: gr.skip()}
        back = {"text": last.ask.text, "files": list(last.ask.files)}
        shown = {self.talk.chatbot: chat.messages(session.exchanges), self.talk.status: None}
        return shown | {self.talk.box: gr.MultimodalTextbox(value=back)} | self._newest(session)

    def clear(self, session: UserSession) -> Updates:
        """Start over: an empty chat and the panels' hints."""
        session.forget()
        shown = {self.talk.chatbot: [], self.talk.status: None}
        return shown | self._ways(session, False) | self._newest(session)

    def show(self, run_id: str) -> Updates:
        """Show an earlier turn in the panels."""
        run = self.service.run(run_id) if isinstance(run_id, str) else None
        if run is None:
            warn(GONE)
            return dict.fromkeys(self.panels, gr.skip())
        return self._rendered(run)

    def cost(self, value: dict | None, session: UserSession, *settings) -> dict | None:
        """What the box's content would cost."""
        value = value or {"text": "", "files": []}
        if value != session.sent:
            session.sent = None
        if not value["files"] or session.busy:
            return None
        settings = self.settings_of(*settings)
        return cost.render(self.service.cost(session, value["text"], value["files"], settings))

    def export_page(self, session: UserSession) -> dict:
        """The conversation as a page that needs no server."""
        return export.page(session.exchanges, self.service.run, partial(baked, self.service.glass))

    def export_json(self, session: UserSession) -> dict:
        return export.data(session.exchanges)

    def settings_of(self, max_new_tokens, temperature, lookup, edge, fps, max_frames, nearest) -> Settings:
        """The sliders' values; those left at what the model does anyway become None."""
        facts = self.service.facts()
        if facts is None:
            return Settings(int(max_new_tokens), float(temperature), lookup=int(lookup))
        return Settings(
            int(max_new_tokens),
            float(temperature),
            edge=int(edge) if edge < facts.largest_edge else None,
            fps=float(fps) if fps != facts.fps else None,
            max_frames=int(max_frames) if max_frames < facts.max_frames else None,
            lookup=int(lookup),
            nearest=bool(nearest),
        )

    def _again(
        self, session: UserSession, index: int, settings: tuple, text: str | None
    ) -> Iterator[Updates]:
        number = chat.exchange_at(session.exchanges, index) if isinstance(index, int) else None
        if number is None:
            warn(GONE)
            yield {self.talk.status: gr.skip()}
            return
        old = session.exchanges[number].ask
        ask = Ask(old.text if text is None else text, old.files, self.settings_of(*settings), replaces=number)
        yield from self._answer(session, ask, from_box=False)

    def _answer(self, session: UserSession, ask: Ask, *, from_box: bool) -> Iterator[Updates]:
        if session.busy:
            warn(BUSY)
            yield {self.talk.status: gr.skip()}
            return
        for view in chat.converse(self.service, session, ask, from_box):
            if view.warning:
                warn(view.warning)
            yield self._updates(view, session)

    def _updates(self, view: chat.View, session: UserSession) -> Updates:
        box = {"submit_btn": not view.running, "stop_btn": view.running}
        updates = {self.talk.chatbot: view.messages, self.talk.status: view.status}
        if view.box is not None:
            box["value"] = view.box
            updates[self.talk.cost.panel] = None
        updates[self.talk.box] = gr.MultimodalTextbox(**box)
        updates |= {button: gr.Button(interactive=not view.running) for button in self.talk.buttons}
        updates |= self._ways(session, view.running)
        if view.live:
            updates[self.figures] = run_panel.live(view.live)
        if view.finished:
            run = view.finished.run
            updates[self.turn] = gr.Dropdown(choices=session.runs(), value=run.run_id, visible=True)
            updates |= self._rendered(run) | {self.head: header.render(self.service)}
        elif not view.running:
            updates |= self._newest(session)
        return updates

    def _ways(self, session: UserSession, running: bool) -> Updates:
        """The ways out as buttons, while there are any."""
        ways = () if running or session.refused is None else session.refused[1]
        words = [f"Send: {way.text}" for way in ways] + [""] * chat.MAX_WAYS
        return {
            button: gr.Button(text, visible=bool(text))
            for button, text in zip(self.talk.ways, words, strict=False)
        }

    def _newest(self, session: UserSession) -> Updates:
        """The panels of the last turn, or their hints."""
        runs = session.runs()
        run = self.service.run(runs[-1][1]) if runs else None
        if run is None:
            return {self.turn: gr.Dropdown(choices=[], value=None, visible=False)} | dict.fromkeys(
                self.panels
            )
        picked = gr.Dropdown(choices=runs, value=runs[-1][1], visible=True)
        return {self.turn: picked} | self._rendered(run)

    def _rendered(self, run) -> Updates:
        return {panel: module.render(run) for panel, module in self.panels.items()}
