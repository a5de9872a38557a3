"""Asking a session, the way the chat tests do."""

from __future__ import annotations

from vlm.chat.sampling import Sampling
from vlm.records import Step, Trace

# Twelve tokens are enough to diverge if a position, a key or a feature were wrong.
SAMPLING = Sampling(max_new_tokens=12, logprobs=True)
# One float32 rounding step (2^-24) of values around 10, grown by some hundred additions.
TOLERANCE = 1e-3


def ask(session, text, *files, **kwargs) -> Trace:
    *_, last = session.ask(text, files, kwargs.pop("sampling", SAMPLING), **kwargs)
    assert isinstance(last, Trace)
    return last


def logprobs(session, text, *files) -> list[float]:
    return [event.logprob for event in session.ask(text, files, SAMPLING) if isinstance(event, Step)]
