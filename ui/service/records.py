"""What crosses the door between the page and the engine: plain records, light to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from vlm.chat.session import AnyEngine
    from vlm.lens.compare import Side
    from vlm.records import Trace


class Refused(Exception):
    """The question, a file or a model cannot be used; the message is for the person."""


class TooMuch(Refused):
    """The turn does not fit. ``choices`` are the ways out, each with a ``text`` for the person."""

    def __init__(self, problem: str, choices: tuple):
        ways = "; ".join(choice.text for choice in choices)
        super().__init__(
            f"{problem} " + (f"Ways out: {ways}." if ways else "Shorten the question or clear the chat.")
        )
        self.choices = choices


class Failed(Exception):
    """Something broke. ``reference`` finds the details in the log; ``said`` is the answer so far."""

    def __init__(self, reference: str, said: str):
        super().__init__(f"Something went wrong (reference {reference}). The server's log says what.")
        self.reference, self.said = reference, said


@dataclass(frozen=True)
class Choice:
    """A model as a person names it, and how it is to run."""

    model: str = "tiny"
    quantize: str = "auto"
    attention: str = "auto"
    device: str = "auto"
    engine: str = "local"  # or the address of an OpenAI-compatible server
    config: str | None = None  # where a served model's config and tokenizer are, if not under its name


@dataclass(frozen=True)
class Reading:
    """What reading one file may take; Linux only."""

    memory_bytes: int = 2 * 2**30
    seconds: int = 120


@dataclass(frozen=True)
class Loading:
    """How far the model is."""

    state: Literal["loading", "ready", "failed"]
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Working:
    """What the engine does now. ``accepted`` once every file was read and the prompt fits.

    ``share`` is how much of the stage is done, from 0 to 1; None where nobody knows.
    """

    text: str
    accepted: bool
    share: float | None = None
    stage: str = ""


@dataclass(frozen=True)
class Said:
    """The answer so far, and the figures so far under the names of a trace's statistics."""

    text: str
    stats: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Everything the panels show of one turn.

    ``elsewhere`` holds for each medium what it would cost under other families, or None; ``files`` where it
    came from. ``engine`` leads to the engine that answered, for as long as it is loaded. ``sides`` are those
    of the last comparison of this turn, once somebody has asked for one.
    """

    run_id: str
    trace: Trace
    facts: ModelFacts
    elsewhere: tuple[list[dict] | None, ...] = ()
    engine: Callable[[], AnyEngine | None] | None = None
    files: tuple[str | None, ...] = ()
    sides: list[Side] = field(default_factory=list)


@dataclass(frozen=True)
class Finished:
    """The turn is over: its run can be had again under its ``run_id``."""

    run: Run


@dataclass(frozen=True)
class ModelFacts:
    """What the page says about a model, and what its sliders may ask for."""

    name: str
    family: str
    parameters: int
    device: str
    dtype: str
    attention: str
    context_length: int
    quantize: str = "none"
    quantize_reason: str = ""
    weights_bytes: int = 0
    axes: str = ""  # which axis turns each rotary frequency: "thwthw…" or "ttt…hhh…www…"
    cell: int = 32  # pixels on the edge of a merged cell
    largest_edge: int = 192  # pixels: a square of this edge is the largest picture the model takes whole
    fps: float = 2.0
    max_frames: int = 8
    window_cells: int | None = None  # edge of an attention window of the tower, in merged cells
    full_attention: tuple[int, ...] = ()  # tower blocks without windows
    tower_blocks: int = 0
    knows: str = ""  # what its model card says that it can and cannot do
    does_not_know: str = ""


@dataclass(frozen=True)
class Cost:
    """What a question would cost before it is sent. Times in seconds, None where nobody knows.

    ``media`` has one entry a file: name, and either error or kind, original, seen, cells, tokens and times.
    """

    media: tuple[dict, ...]
    vision_tokens: int
    new_tokens: int  # to be computed, with text and control tokens
    total_tokens: int  # with the conversation so far
    context: int
    seconds: float | None = None  # to the first word
    problem: str | None = None  # what does not fit
    choices: tuple[str, ...] = ()
