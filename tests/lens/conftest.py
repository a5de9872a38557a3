"""A chat of the embedded model in float32, shared by the lens tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.records import Trace

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def examples():
    """Where the page's pictures and clips are."""
    return EXAMPLES


@pytest.fixture
def chat(engine):
    return ChatSession(engine)


@pytest.fixture
def ask(chat):
    """``ask(text, *files)`` → the turn's Trace, in one chat."""

    def run(text: str, *files: str, **how) -> Trace:
        sampling = Sampling(max_new_tokens=how.pop("tokens", 24))
        *_, trace = chat.ask(text, [EXAMPLES / file for file in files], sampling, **how)
        return trace

    return run
