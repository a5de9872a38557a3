"""An engine on another machine: the same chats over an OpenAI-compatible server."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from collections.abc import Sequence as Items
from contextlib import closing
from dataclasses import dataclass, field, replace

from vlm.chat.connection import Connection, EngineError
from vlm.chat.engine import Engine
from vlm.chat.payload import not_heeded, to_body, to_links
from vlm.chat.request import Answering, Outcome, Request, Stopped
from vlm.chat.sampling import LOOP_TOKENS, is_loop
from vlm.chat.stats import Clock, Pace, statistics
from vlm.chat.text import SafeText
from vlm.config import ModelConfig
from vlm.inputs.tokenizer import Tokenizer
from vlm.records import Patches, Progress, Sequence, Step


class RemoteEngine:
    """What `vlm.chat.engine.Engine` is to a chat, with the model elsewhere.

    The prompt is laid out here as well, from the model's config and tokenizer, for the budget and the
    panels; the server lays it out again by itself. A note in the statistics says where the two disagree.

    Args:
        name: what the server calls the model.
        url, api_key, timeout: see `Connection`.

    Raises:
        EngineError: nothing answers there, or it serves other models.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        name: str,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 300.0,
    ):
        self.tokenizer, self.name, self.pace = tokenizer, name, Pace()
        self._connection = Connection(url, name, api_key, timeout)
        self.kind, models = self._connection.look()
        if self.kind in ("vllm", "sglang") and name not in models:
            raise EngineError(f"The engine at {url} serves {', '.join(models)}, not {name}: change --model.")
        self.config = _within(config, models.get(name))
        self._chats = itertools.count()
        self._links: dict[int, dict[str, str]] = {}  # of each chat, those of its latest prompt

    def new_chat(self) -> int:
        """A number by which the engine tells one chat from another."""
        return next(self._chats)

    def forget(self, chat: int) -> None:
        """Drop what was kept for a chat: its media as they are sent."""
        self._links.pop(chat, None)

    def shared_tokens(self, chat: int, sequence: Sequence) -> int:
        """Not known before the answer: what the server keeps is its own affair."""
        return 0

    def free_bytes(self) -> int:
        """Of this machine's memory, which a turn does not need."""
        return 0

    def needed_bytes(self, sequence: Sequence, media: Items[Patches]) -> int:
        return 0

    def warm_up(self) -> None:
        """The server has done so, or will."""

    def free_memory(self) -> None:
        self._links.clear()

    def facts(self) -> dict:
        """What does not change from answer to answer; None for what only the server knows."""
        unknown = ("weights_bytes", "dtype", "attention", "quantize", "quantize_reason")
        return {
            "context_length": self.config.decoder.context_length,
            "device": f"{self._connection.url} ({self.kind})",
            **dict.fromkeys(unknown),
        }

    def answer(self, request: Request) -> Answering:
        """Send the whole conversation, then stream Steps. Their ``token`` is None.

        Raises:
            EngineError: before the first word; later it only ends the answer, as ``cut``.
        """
        tokens, sequence, sampling = self.config.tokens, request.sequence, request.sampling
        room = self.config.decoder.context_length - len(sequence)
        reply = _Reply(SafeText(self.tokenizer, sampling.stop), len(sequence))
        yield Progress("prefill", f"reading {len(sequence):,} tokens", 0, len(sequence))
        known = self._links.get(request.chat, {})
        links = self._links[request.chat] = to_links(request.turns, known, tokens.frame_timestamps)
        body = to_body(request.turns, sampling, self.kind, room, tokens.eos, links)
        try:
            finish = yield from self._listen(request, body, reply)
        except Stopped:
            finish = "stopped"
        except EngineError as error:
            if not reply.steps:
                raise
            finish = "cut"
            reply.note(f"the answer is cut off. {error}")
        if finish == "length" and room < sampling.max_new_tokens:
            finish = "context"
        if reply.steps or finish != "stopped":
            yield reply.end(finish)
        return Outcome(finish, self._statistics(request, reply))

    def _listen(self, request: Request, body: dict, reply: _Reply) -> Generator[Step, None, str]:
        """Steps as they come; returns why they ended."""
        with closing(self._connection.stream(body, request.stopped)) as chunks:
            for chunk in chunks:
                if piece := reply.hear(chunk):
                    yield reply.step(piece)
                if reply.text.ended:
                    return "stop"
                if is_loop([step.text for step in reply.steps[-LOOP_TOKENS:]]):
                    return "loop"
        if reply.finish is None:
            raise EngineError(f"The engine at {self._connection.url} hung up before the answer's end.")
        return reply.finish

    def _statistics(self, request: Request, reply: _Reply) -> dict:
        """As an engine on this machine has them, as far as they can be seen from here.

        Times are from the request to the first word (``prefill_ms``) and from there to the end, so the
        way there and back and the server's own queue are in them.
        """
        if reply.steps:
            reply.clock.lap("decode")
        read, usage, sequence = reply.read_tokens, reply.usage, request.sequence
        said = usage.completion_tokens if usage else len(self.tokenizer.encode(reply.said))
        if usage and read != len(sequence):
            reply.note(
                f"the engine read {read:,} tokens where {len(sequence):,} were counted here: "
                "the panels may not show exactly what it saw"
            )
        if ignored := not_heeded(request.sampling, self.kind):
            reply.note(f"this engine does not take {', '.join(ignored)}")
        self.pace.learn(reply.clock, len(sequence) - reply.cached_tokens)
        return {
            "model": self.name,
            **statistics(sequence, said, reply.cached_tokens, reply.clock),
            **self.facts(),
            "kv_cache_bytes": None,
            "peak_memory_bytes": None,
            "engine_prompt_tokens": read,
            "notes": reply.notes,
        }


AnyEngine = Engine | RemoteEngine


@dataclass
class _Reply:
    """What came back so far."""

    text: SafeText
    start: int  # index of the first Step
    steps: list[Step] = field(default_factory=list)
    finish: str | None = None
    usage: object | None = None
    notes: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    _logprob: float | None = None

    @property
    def said(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def read_tokens(self) -> int | None:
        return self.usage.prompt_tokens if self.usage else None

    @property
    def cached_tokens(self) -> int:
        """Of the prompt, what the server had from earlier turns, where it says so."""
        details = getattr(self.usage, "prompt_tokens_details", None)
        return getattr(details, "cached_tokens", None) or 0

    def hear(self, chunk) -> str:
        """The text that became safe to show with a chunk."""
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        if choice.finish_reason:
            self.finish = _finish(choice)
            if self.finish == "cut":
                self.note(f"the engine broke the answer off ({choice.finish_reason})")
        if getattr(choice.delta, "reasoning_content", None) or getattr(choice.delta, "reasoning", None):
            self.note("the engine keeps what the model thinks before its answer apart; it is not shown")
        told = choice.logprobs.content if choice.logprobs else None
        self._logprob = told[0].logprob if told and len(told) == 1 else None
        return self.text.release(choice.delta.content) if choice.delta.content else ""

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def step(self, piece: str, finish: str | None = None) -> Step:
        if not self.steps:
            self.clock.lap("prefill")
        step = Step(None, piece, self.start + len(self.steps), self._logprob, finish)
        self.steps.append(step)
        return step

    def end(self, finish: str) -> Step:
        """The last Step, with the text that was still held back."""
        self._logprob = None
        return self.step(self.text.rest(), finish)


def _finish(choice) -> str:
    """The protocol has one word for the end of the answer and for a stop string; some servers say more."""
    if choice.finish_reason == "length":
        return "length"
    if choice.finish_reason in ("content_filter", "abort"):
        return "cut"
    matched = getattr(choice, "stop_reason", None) or getattr(choice, "matched_stop", None)
    return "stop" if isinstance(matched, str) else "eos"


def _within(config: ModelConfig, served: int | None) -> ModelConfig:
    """The config with the context that the server gives it, which may be shorter than the model's own."""
    length = min(config.decoder.context_length, served or config.decoder.context_length)
    return replace(config, decoder=replace(config.decoder, context_length=length))
