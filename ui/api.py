"""The documented endpoints for programs and MCP clients: /chat, /inspect and /health."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import gradio as gr

from ui.media_input import MediaInput
from ui.service import Failed, Finished, Refused, Said, Service
from ui.state import Ask, Settings, UserSession

MAX_HISTORIES = 256  # conversations kept for clients; the one not used for longest goes first
INTERVAL = 1 / 12  # seconds between two pieces of a streamed answer


@dataclass
class Api:
    """The endpoints' functions; their docstrings and types are what clients read."""

    service: Service
    histories: OrderedDict[str, UserSession] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def chat(
        self,
        message: str,
        files: list[str] | None = None,
        history_id: str = "",
        max_new_tokens: float = 256,
        temperature: float = 0,
    ) -> Iterator[dict]:
        """Ask the vision-language model a question about pictures and clips; the answer streams.

        Args:
            message: The question.
            files: Pictures and clips that go before the question.
            history_id: Of an earlier answer, to go on with that conversation; empty begins a new one.
            max_new_tokens: The longest answer, in tokens.
            temperature: 0 always takes the likeliest token; higher values vary the answer.

        Returns:
            answer, history_id, done; at the end also finish, model and statistics.
        """
        history_id, user = self._history(history_id)
        ask = Ask(message, tuple(files or ()), Settings(max(1, int(max_new_tokens)), float(temperature)))
        last = 0.0
        try:
            for event in self.service.turn(user, ask):
                if isinstance(event, Finished):
                    trace = event.run.trace
                    yield {
                        "answer": trace.answer,
                        "history_id": history_id,
                        "done": True,
                        "finish": trace.finish,
                        "model": event.run.facts.name,
                        "statistics": trace.stats,
                    }
                elif isinstance(event, Said) and time.monotonic() - last > INTERVAL:
                    last = time.monotonic()
                    yield {"answer": event.text, "history_id": history_id, "done": False}
        except (Refused, Failed) as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            user.end()

    def inspect(self, files: list[str], model: str = "tiny", prompt: str = "Describe this.") -> dict:
        """Show what a model would make of files, without running it: sizes, patches, tokens.

        Args:
            files: Pictures and clips.
            model: tiny, the model that the page has loaded, or a preset such as qwen2.5-vl-7b.
            prompt: Text that follows the files.

        Returns:
            The JSON of ``python -m vlm inspect``.
        """
        if not files:
            raise gr.Error("Give at least one file.", print_exception=False)
        try:
            return self.service.inspect(files, model, prompt)
        except Refused as error:
            raise gr.Error(str(error), print_exception=False) from error

    def health(self) -> dict:
        """Tell whether the model is ready to answer.

        Returns:
            status (loading, ready or failed), model, device and a sentence.
        """
        loading, facts = self.service.loading(), self.service.facts()
        return {
            "status": loading.state,
            "model": facts.name if facts else None,
            "device": facts.device if facts else None,
            "detail": loading.text,
        }

    def _history(self, history_id: str) -> tuple[str, UserSession]:
        """A conversation that nobody else is using, marked as running."""
        with self.lock:
            if history_id and history_id not in self.histories:
                raise gr.Error("That conversation is not kept: begin a new one.", print_exception=False)
            history_id = history_id or secrets.token_urlsafe(16)
            user = self.histories.setdefault(history_id, UserSession())
            if user.busy:
                raise gr.Error("That conversation is answering already: wait for it.", print_exception=False)
            user.begin()
            self.histories.move_to_end(history_id)
            while len(self.histories) > MAX_HISTORIES:
                self.histories.popitem(last=False)[1].forget()
            return history_id, user


def create(service: Service) -> None:
    """Add the endpoints to the page that is being built; none of their widgets is shown."""
    api = Api(service)
    with gr.Column(visible=False):
        message = gr.Textbox(label="message")
        files = MediaInput("files")
        history = gr.Textbox("", label="history_id")
        longest = gr.Number(256, label="max_new_tokens", minimum=1, maximum=4096, precision=0)
        temperature = gr.Number(0, label="temperature", minimum=0, maximum=2)
        model = gr.Textbox("tiny", label="model")
        prompt = gr.Textbox("Describe this.", label="prompt")
        answer = gr.JSON(label="answer")
        report = gr.JSON(label="report")
        state = gr.JSON(label="health")
        ask, look, feel = gr.Button(), gr.Button(), gr.Button()
    turns = {"concurrency_limit": 4, "concurrency_id": "turn"}
    ask.click(api.chat, [message, files, history, longest, temperature], answer, api_name="chat", **turns)
    look.click(
        api.inspect,
        [files, model, prompt],
        report,
        api_name="inspect",
        concurrency_limit=2,
        concurrency_id="inspect",
    )
    feel.click(api.health, None, state, api_name="health", queue=False)
