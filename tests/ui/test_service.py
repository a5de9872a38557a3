"""The service turns the engine's events and errors into what the page shows."""

from __future__ import annotations

import logging

import pytest

from ui import service as module
from ui.service import Failed, Finished, Refused, Said, Service, Working
from ui.state import UserSession
from vlm.records import MediaError, Progress, Step


class Chat:
    """A conversation that yields what it is given, and raises what is an exception."""

    def __init__(self, *events):
        self.events = events

    def ask(self, *_, **__):
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event


def run(service: Service, *events) -> list:
    user = UserSession(chat=Chat(*events))
    user.begin()
    return list(service.turn(user, "What?", [], 16, 0.0))


@pytest.fixture
def service():
    return Service(engine=None)


def test_events_in_the_page_s_words(service, trace):
    opening, reading, first, second, end = run(
        service,
        Progress("media", "opening cat.png", 0, 1),
        Progress("prefill", "reading tokens", 512, 1040),
        Step(7, "a", 20),
        Step(8, " cat", 21),
        trace,
    )
    assert opening == Working("opening cat.png", accepted=False)
    assert reading == Working("reading tokens (512 of 1,040)", accepted=True)
    assert (first, second) == (Said("a"), Said("a cat"))
    assert isinstance(end, Finished)


def test_traces_are_kept_without_the_tower_s_input(service, trace):
    run_id = run(service, trace)[0].run_id
    kept = service.trace(run_id)
    assert [len(patches.pixels) for patches in kept.sequence.media] == [0, 0]
    assert [patches.tokens for patches in kept.sequence.media] == [6, 4]
    assert service.trace("guess") is None


def test_only_so_many_traces_are_kept(service, trace, monkeypatch):
    monkeypatch.setattr(module, "MAX_RUNS", 2)
    ids = [run(service, trace)[0].run_id for _ in range(3)]
    assert [service.trace(run_id) is not None for run_id in ids] == [False, True, True]


def test_wrong_input_is_refused_with_its_message(service):
    with pytest.raises(Refused, match=r"cat\.png: the file is empty"):
        run(service, MediaError("cat.png", "the file is empty"))


def test_a_surprise_goes_to_the_log_and_only_its_reference_to_the_person(service, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(Failed) as caught:
        run(service, Step(7, "half", 20), RuntimeError("secret path /srv/x"))
    assert caught.value.said == "half"
    assert "secret" not in str(caught.value)
    assert caught.value.reference in str(caught.value)
    assert caught.value.reference in caplog.text
    assert "secret path" in caplog.text
