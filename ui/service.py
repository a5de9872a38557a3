"""The page's only door to the engine: opens a model, runs turns, keeps their traces for the panels."""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

from ui.state import UserSession
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession, Engine
from vlm.families import open_checkpoint
from vlm.records import InputError, Progress, Step, Trace

log = logging.getLogger("glassbox")
MAX_RUNS = 256  # traces kept for all pages together; the oldest goes first


class Refused(Exception):
    """The question or a file cannot be used; the message is for the person."""


class Failed(Exception):
    """Something broke. ``reference`` finds the details in the log; ``said`` is the answer so far."""

    def __init__(self, reference: str, said: str):
        super().__init__(f"Something went wrong (reference {reference}). The server's log says what.")
        self.reference, self.said = reference, said


@dataclass(frozen=True)
class Working:
    """What the engine does now. ``accepted`` once every file was read and the prompt fits."""

    text: str
    accepted: bool


@dataclass(frozen=True)
class Said:
    """The answer so far."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The turn is over: its trace can be had under ``run_id``."""

    run_id: str
    trace: Trace


@dataclass(frozen=True)
class ModelFacts:
    """What the header shows."""

    name: str
    family: str
    parameters: int
    device: str
    dtype: str
    attention: str


class Service:
    """One loaded model for all pages."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._runs: OrderedDict[str, Trace] = OrderedDict()

    @classmethod
    def open(cls, model: str, device: str) -> Service:
        """Load a model. Raises InputError with a sentence for the person at the shell."""
        checkpoint = open_checkpoint(model, device=device)
        engine = Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name)
        engine.warm_up()
        return cls(engine)

    def facts(self) -> ModelFacts:
        model = self.engine.model
        return ModelFacts(
            name=self.engine.name,
            family=self.engine.config.family,
            parameters=sum(weight.numel() for weight in model.parameters()),
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            attention=str(model.backend),
        )

    def turn(
        self, user: UserSession, text: str, files: Items[str], max_new_tokens: int, temperature: float
    ) -> Iterator[Working | Said | Finished]:
        """Run one turn of ``user``'s conversation; ``user.stop`` ends it early.

        Raises:
            Refused: nothing was run and the conversation is as before.
            Failed: an unexpected error, already logged.
        """
        if user.chat is None:
            user.chat = ChatSession(self.engine)
        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature)
        said = ""
        try:
            for event in user.chat.ask(text, files, sampling, stopped=user.stop.is_set):
                if isinstance(event, Step):
                    said += event.text
                    yield Said(said)
                elif isinstance(event, Progress):
                    yield Working(_in_words(event), event.stage != "media")
                else:
                    yield Finished(self._keep(event), event)
        except InputError as error:
            raise Refused(str(error)) from error
        except Exception as error:
            reference = secrets.token_hex(4)
            log.exception("turn failed, reference %s", reference)
            raise Failed(reference, said) from error

    def trace(self, run_id: str) -> Trace | None:
        """The trace of an earlier turn, or None where it is no longer kept."""
        return self._runs.get(run_id)

    def _keep(self, trace: Trace) -> str:
        run_id = secrets.token_urlsafe(16)
        self._runs[run_id] = _without_pixels(trace)
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        return run_id


def _in_words(event: Progress) -> str:
    if event.total and event.done:
        return f"{event.detail} ({event.done:,} of {event.total:,})"
    return event.detail


def _without_pixels(trace: Trace) -> Trace:
    """The trace without the tower's input, which no panel shows and which is most of its memory."""
    media = tuple(replace(patches, pixels=patches.pixels[:0].clone()) for patches in trace.sequence.media)
    return replace(trace, sequence=replace(trace.sequence, media=media))
