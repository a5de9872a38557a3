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

from ui.panel import Panel
from ui.service import Failed, Finished, Refused, Said, Service
from ui.state import UserSession
from vlm.records import Trace

EXAMPLES = Path(__file__).parent.parent / "examples"
# (file, picture on the button, question)
TRY = (
    ("circle.png", "circle.png", "What colour is the circle?"),
    ("shapes.png", "shapes.png", "How many objects are there?"),
    ("star.png", "star.png", "Where is the star?"),
    ("moving_circle.mp4", "moving_circle_poster.png", "Which way does the circle move?"),
)
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
INTERVAL = 1 / 12  # seconds between two updates of a streaming answer
ENDINGS = {
    "stopped": "(stopped)",
    "length": "(token limit reached)",
    "context": "(context is full)",
    "loop": "(ended: it repeats itself)",
}
_CODE = re.compile(r"(```.*?(?:```|$)|`[^`\n]+`)", re.DOTALL)
WELCOME = "### Show it something\nDrop pictures or clips into the box below and ask, or try an example."


class Status(Panel):
    """One line that says what is going on."""


@dataclass(frozen=True)
class ChatPanel:
    """The widgets of the chat."""

    chatbot: gr.Chatbot
    status: Status
    box: gr.MultimodalTextbox
    examples: tuple[gr.Button, ...]
    max_new_tokens: gr.Slider
    temperature: gr.Slider
    clear: gr.Button


@dataclass(frozen=True)
class View:
    """What the chat shows at one moment of a turn; ``box`` is None where it is left as it is."""

    messages: list[dict]
    status: dict
    box: dict | None = None
    running: bool = True
    finished: Finished | None = None
    warning: str | None = None


def create(hint: str = "") -> ChatPanel:
    """Chat, status line, input box, examples and settings, from top to bottom.

    ``hint`` is added to what the empty chat says.
    """
    chatbot = gr.Chatbot(
        elem_id="chat", show_label=False, container=False, height=None, buttons=["copy"], layout="bubble",
        group_consecutive_messages=False, allow_tags=False, latex_delimiters=[], feedback_options=None,
        placeholder=f"{WELCOME}\n\n{hint}",
    )  # fmt: skip
    status = Status('<i class="gb-pulse"></i><span></span>', "status.js", elem_id="status")
    box = gr.MultimodalTextbox(
        elem_id="box", show_label=False, file_types=["image", "video"], file_count="multiple",
        sources=["upload"], max_plain_text_length=32_000, placeholder="Ask about your pictures …",
        autofocus=True, max_lines=6,
    )  # fmt: skip
    gr.HTML("<p>Examples, each in a new chat</p>", elem_id="examples-head", js_on_load=None)
    with gr.Row(elem_id="examples"):
        examples = tuple(
            gr.Button(question, icon=EXAMPLES / poster, size="sm", min_width=150)
            for _, poster, question in TRY
        )
    with gr.Row(elem_id="chat-foot"):
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            max_new_tokens = gr.Slider(1, 1024, 256, step=1, label="Longest answer (tokens)")
            temperature = gr.Slider(
                0, 2, 0, step=0.1, label="Temperature", info="0 always takes the likeliest token"
            )
        clear = gr.Button("Clear chat", size="sm", elem_id="clear", scale=0, min_width=110)
    return ChatPanel(chatbot, status, box, examples, max_new_tokens, temperature, clear)


def converse(
    service: Service,
    user: UserSession,
    text: str,
    files: Items[str],
    limit: int,
    temperature: float,
    from_box: bool,
) -> Iterator[View]:
    """One turn as views, at most 12 a second and the last one always.

    Until the files are read and the prompt fits, nothing shows in the chat and the box keeps its content;
    a turn that is refused, or fails before its first word, leaves both as they were.
    """
    before = list(user.messages)
    empty = {"text": "", "files": []} if from_box else None
    kept = {"text": text, "files": list(files)} if from_box else None
    question = _question(text, files)
    user.begin()
    yield View(before, _working("starting"))
    accepted, last, said = False, 0.0, ""
    try:
        for event in service.turn(user, text, files, limit, temperature):
            if isinstance(event, Finished):
                user.messages = [*before, *question, _answer(event.trace.answer, event.trace.finish)]
                user.runs.append((_label(user, text), event.run_id))
                yield View(user.messages, _done(event.trace), running=False, finished=event)
                return
            if isinstance(event, Said):
                said, working = event.text, _working("writing")
            else:
                working = _working(event.text)
            if user.stop.is_set() and not accepted:
                break
            fresh = not accepted and (isinstance(event, Said) or event.accepted)
            accepted = accepted or fresh
            if fresh or time.monotonic() - last >= INTERVAL:
                last = time.monotonic()
                shown = [*before, *question, _answer(said or "…")] if accepted else before
                yield View(shown, working, empty if fresh else None)
        yield View(before, _idle("Stopped before the model looked at it."), kept, running=False)
    except Refused as error:
        yield View(before, _idle(""), kept if accepted else None, running=False, warning=str(error))
    except Failed as error:
        if error.said:
            ending = f"(broke off, reference {error.reference})"
            user.messages, kept = [*before, *question, _answer(error.said, ending)], None
        yield View(user.messages, _idle(""), kept if accepted else None, running=False, warning=str(error))
    finally:
        user.end()


def _question(text: str, files: Items[str]) -> list[dict]:
    parts = [_file_part(Path(file)) for file in files]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": plain(text)}]}]


def plain(text: str) -> str:
    """Markdown in which no HTML is left: tags show as they were written, in code and outside it."""
    parts = _CODE.split(text)  # code is escaped by the page itself
    return "".join(
        part if number % 2 else html.escape(part, quote=False) for number, part in enumerate(parts)
    )


def _file_part(path: Path) -> dict:
    if path.suffix.lower() in VIEWABLE:
        return {"path": str(path), "alt_text": path.name}
    return {"type": "text", "text": f"`{path.name}`"}


def _answer(text: str, finish: str = "eos") -> dict:
    ending = ENDINGS.get(finish, finish if finish.startswith("(") else "")
    body = "\n\n".join(part for part in (plain(text), f"*{ending}*" if ending else "") if part)
    return {"role": "assistant", "content": body or "*(no words)*"}


def _label(user: UserSession, text: str) -> str:
    short = text if len(text) <= 60 else text[:57] + "…"
    return f"Turn {len(user.runs) + 1}: {short}"


def _working(text: str) -> dict:
    return {"state": "working", "text": text + " …"}


def _idle(text: str) -> dict:
    return {"state": "idle", "text": text}


def _done(trace: Trace) -> dict:
    stats = trace.stats
    speed, first = stats.get("decode_tokens_per_s"), stats.get("first_token_ms")
    parts = [f"{stats.get('answer_tokens', 0):,} tokens"]
    parts += [f"first after {first:,.0f} ms"] if first else []
    parts += [f"{speed:,.0f} tokens/s"] if speed else []
    return _idle(" · ".join(parts))
