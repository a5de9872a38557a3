"""A turn on ZeroGPU, with a stand-in for the `spaces` package that pickles what crosses over."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace

import pytest

from ui.examples import FOLDER
from ui.service import Finished, Service, backend, zero
from ui.service.records import Choice
from ui.state import Ask, Settings, UserSession


@pytest.fixture
def spaces(monkeypatch):
    """Calls of the decorated function, with how long each asked for the GPU."""
    calls = []

    def gpu(duration):
        def decorate(function):
            def over_there(*args):
                calls.append(duration(*args))
                for event in function(*pickle.loads(pickle.dumps(args))):
                    yield pickle.loads(pickle.dumps(event))

            return over_there

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    monkeypatch.setattr(zero, "HERE", True)
    return calls


def test_a_conversation_crosses_over_and_back(spaces):
    service = Service(choice=Choice(device="cpu"))
    service.load(service.choice).join()
    user = UserSession()
    for text, files in (("What shape is it?", (str(FOLDER / "circle.png"),)), ("What colour is it?", ())):
        user.begin()
        *_, end = service.turn(user, Ask(text, files, Settings(max_new_tokens=8)))
        assert isinstance(end, Finished)
    assert len(user.chat.turns) == len(user.exchanges) == 2
    assert end.run.trace.sequence.count("image") > 0
    assert len(spaces) == 2 and all(30 <= seconds <= 180 for seconds in spaces)


def test_elsewhere_nothing_of_it_is_used():
    assert not zero.HERE
    assert "spaces" not in sys.modules
    assert backend.zero is zero
