"""The chat panel: its widgets, and one turn of conversation as a stream of views."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from ui import cost
from ui.examples import Example, offered
from ui.panel import Panel
from ui.service import Failed, Finished, Refused, Said, Service, TooMuch, Working
from ui.state import Ask, Exchange, UserSession

# What browsers can show; other files stand in the chat by their name.
VIEWABLE = {
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".webp",
    ".avif",
    ".bmp",
    ".mp4",
    ".m4v",
    ".mov",
    ".webm",
    ".ogv",
}
MAX_WAYS = 4  # out, where a question does not fit: pixels, frames, files, turns
INTERVAL = 1 / 12  # seconds between two updates of a streaming answer
ENDINGS = {
    "stopped": "(stopped)",
    "length": "(token limit reached)",
    "context": "(context is full)",
    "loop": "(ended: it repeats itself)",
    "memory": "(broke off: out of memory)",
    "cut": "(broke off: the connection to the other machine was lost)",
}
_CODE = re.compile(r"(```.*?(?:```|$)|`[^`\n]+`)", re.DOTALL)
WELCOME = "### Show it something\nDrop pictures or clips anywhere here and ask, or try an example below."
LOOKUP = "Guessing ahead is quicker where an answer repeats what was said; the words stay the same."
EMBEDDED = (
    "The embedded model knows simple drawn shapes and nothing else. "
    "The Model tab says more, and offers a better one."
)


class Status(Panel):
    """One line that says what is going on, and how far it is."""


@dataclass(frozen=True)
class ChatPanel:
    """The widgets of the chat."""

    chatbot: gr.Chatbot
    status: Status
    cost: cost.CostCard
    box: gr.MultimodalTextbox
    examples: tuple[gr.Button, ...]
    max_new_tokens: gr.Slider
    temperature: gr.Slider
    lookup: gr.Slider
    undo: gr.Button
    export_json: gr.Button
    export_html: gr.Button
    clear: gr.Button
    ways: tuple[gr.Button, ...]  # out, where a question does not fit
    download: Panel

    @property
    def settings(self) -> list[gr.components.Component]:
        """In the order of `ui.events.settings_of`."""
        return [self.max_new_tokens, self.temperature, self.lookup, *self.cost.sliders.all]

    @property
    def buttons(self) -> list[gr.Button]:
        """They rest while an answer is written."""
        return [*self.examples, self.undo, self.clear]


@dataclass(frozen=True)
class View:
    """What the chat shows at one moment of a turn; ``box`` is None where it is left as it is.

    ``live`` are the figures of the answer so far, under the names of a trace's statistics.
    """

    messages: list[dict]
    status: dict
    box: dict | None = None
    running: bool = True
    finished: Finished | None = None
    warning: str | None = None
    live: dict | None = None


def create(examples: Items[Example], embedded: bool) -> ChatPanel:
    """Chat, status line, cost, input box, examples and settings, from top to bottom.

    ``embedded``: the page begins with the embedded model.
    """
    chatbot = gr.Chatbot(
        elem_id="chat", show_label=False, container=False, height=None, buttons=["copy"], layout="bubble",
        group_consecutive_messages=False, allow_tags=False, latex_delimiters=[], feedback_options=None,
        editable="user", placeholder=_welcome(embedded),
    )  # fmt: skip
    status = Status(
        '<i class="gb-pulse"></i><span></span><progress max="1" aria-label="Progress"></progress>',
        "status.js", elem_id="status",
    )  # fmt: skip
    card = cost.create()
    with gr.Row(elem_id="ways"):
        ways = tuple(gr.Button("", size="sm", visible=False, min_width=140) for _ in range(MAX_WAYS))
    box = gr.MultimodalTextbox(
        elem_id="box", show_label=False, file_types=["image", "video"], file_count="multiple",
        sources=["upload"], max_plain_text_length=32_000, placeholder="Ask about your pictures …",
        autofocus=True, max_lines=6,
    )  # fmt: skip
    gr.HTML("<p>Examples, each in a new chat</p>", elem_id="examples-head", js_on_load=None)
    with gr.Row(elem_id="examples"):
        buttons = tuple(
            gr.Button(
                example.question, icon=example.poster, size="sm", min_width=120,
                visible=example in offered(examples, embedded),
            )
            for example in examples
        )  # fmt: skip
    with gr.Row(elem_id="chat-foot"):
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            max_new_tokens = gr.Slider(1, 1024, 256, step=1, label="Longest answer, tokens", buttons=[])
            temperature = gr.Slider(0, 2, 0, step=0.1, label="Temperature (0: likeliest)", buttons=[])
            lookup = gr.Slider(0, 16, 0, step=1, label="Guess ahead, tokens", buttons=[])
            gr.HTML(f"<p>{LOOKUP}</p>", elem_id="settings-help", js_on_load=None)
        undo = gr.Button("Undo", size="sm", elem_id="undo", scale=0, min_width=64)
        export_html = gr.Button("Export page", size="sm", elem_id="export-html", scale=0, min_width=96)
        export_json = gr.Button("Export JSON", size="sm", elem_id="export-json", scale=0, min_width=96)
        clear = gr.Button("Clear", size="sm", elem_id="clear", scale=0, min_width=56)
    download = Panel("<span hidden></span>", "download.js", elem_id="download")
    Panel("<span hidden></span>", "gestures.js", elem_id="gestures")
    return ChatPanel(
        chatbot, status, card, box, buttons, max_new_tokens, temperature, lookup, undo, export_json,
        export_html, clear, ways, download,
    )  # fmt: skip


def _welcome(embedded: bool) -> str:
    return f"{WELCOME}\n\n{EMBEDDED}" if embedded else WELCOME


def suit(talk: ChatPanel, examples: Items[Example], embedded: bool) -> dict:
    """The examples and the words of the empty chat for another model."""
    shown = offered(examples, embedded)
    buttons = {
        button: gr.Button(visible=example in shown)
        for button, example in zip(talk.examples, examples, strict=True)
    }
    return buttons | {talk.chatbot: gr.Chatbot(placeholder=_welcome(embedded))}


def converse(service: Service, user: UserSession, ask: Ask, from_box: bool) -> Iterator[View]:
    """One turn as views, at most 12 a second and the last one always.

    Until the files are read and the prompt fits, nothing shows in the chat and the box keeps its content;
    a turn that is refused, or fails before its first word, leaves both as they were.
    """
    before = messages(user.exchanges)
    earlier = before if ask.replaces is None else messages(user.exchanges[: ask.replaces])
    question = _question(ask.text, ask.files)
    empty = {"text": "", "files": []} if from_box else None
    kept = {"text": ask.text, "files": list(ask.files)} if from_box else None
    user.begin()
    user.refused = None
    yield View(before, _working(Working("starting", False)))
    accepted, last, said, live = False, 0.0, "", {}
    try:
        for event in service.turn(user, ask):
            if isinstance(event, Finished):
                stats = event.run.trace.stats
                box = empty if user.sent else None
                yield View(messages(user.exchanges), _done(stats), box, running=False, finished=event)
                return
            if isinstance(event, Said):
                said, live = event.text, event.stats
                working = Working("writing", True, stage="writing")
            else:
                working = event
            if user.stop.is_set() and not accepted:
                break
            fresh = working.accepted and not accepted
            accepted = accepted or fresh
            if fresh or time.monotonic() - last >= INTERVAL:
                last = time.monotonic()
                user.sent = kept if fresh else user.sent
                shown = [*earlier, *question, _answer(said or "…")] if accepted else before
                figures = live | {"stage": working.text}
                # Of updates that come together the page takes the last: the box is emptied until it says so.
                yield View(shown, _working(working), empty if user.sent else None, live=figures)
        yield View(before, _idle("Stopped before the model looked at it."), kept, running=False)
    except Refused as error:
        if isinstance(error, TooMuch):
            user.refused = ask, error.choices
        yield View(before, _idle(""), kept if accepted else None, running=False, warning=str(error))
    except Failed as error:
        back = kept if accepted and not error.said else None
        yield View(messages(user.exchanges), _idle(""), back, running=False, warning=str(error))
    finally:
        user.end()


def messages(exchanges: Items[Exchange]) -> list[dict]:
    """The conversation in Gradio's form, one message a part: so an edited question keeps its files."""
    return [message for exchange in exchanges for message in _both(exchange)]


def exchange_at(exchanges: Items[Exchange], index: int) -> int | None:
    """Which exchange the message at ``index`` belongs to."""
    end = 0
    for number, exchange in enumerate(exchanges):
        end += len(exchange.ask.files) + 2
        if 0 <= index < end:
            return number
    return None


def _both(exchange: Exchange) -> list[dict]:
    return [*_question(exchange.ask.text, exchange.ask.files), _answer(exchange.answer, exchange.finish)]


def _question(text: str, files: Items[str]) -> list[dict]:
    parts = [*(_file_part(Path(file)) for file in files), plain(text)]
    return [{"role": "user", "content": part} for part in parts]


def plain(text: str) -> str:
    """Markdown in which no HTML is left: tags show as they were written, in code and outside it."""
    parts = _CODE.split(text)  # code is escaped by the page itself
    return "".join(
        part if number % 2 else html.escape(part, quote=False) for number, part in enumerate(parts)
    )


def _file_part(path: Path) -> dict | str:
    if path.suffix.lower() in VIEWABLE:
        return {"path": str(path), "alt_text": path.name}
    return f"`{path.name}`"


def _answer(text: str, finish: str = "eos") -> dict:
    ending = ENDINGS.get(finish, finish if finish.startswith("(") else "")
    body = "\n\n".join(part for part in (plain(text), f"*{ending}*" if ending else "") if part)
    return {"role": "assistant", "content": body or "*(no words)*"}


def _working(now: Working) -> dict:
    return {"state": "working", "text": now.text + " …", "share": now.share}


def _idle(text: str) -> dict:
    return {"state": "idle", "text": text}


def _done(stats: dict) -> dict:
    speed, first = stats.get("decode_tokens_per_s"), stats.get("first_token_ms")
    reused = stats.get("reused_tokens")
    parts = [f"{stats.get('answer_tokens', 0):,} tokens"]
    parts += [f"first after {first:,.0f} ms"] if first else []
    parts += [f"{speed:,.0f} tokens/s"] if speed else []
    parts += [f"{reused:,} reused"] if reused else []
    return _idle(" · ".join(parts))
