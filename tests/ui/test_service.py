"""The service turns the engine's events and errors into what the page shows."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import pytest

from ui.service import Choice, Failed, Finished, Refused, Service, Working, backend
from ui.service import service as module
from ui.service.telling import fetched_bytes
from ui.state import Ask, UserSession
from vlm.records import InputError, MediaError, Progress, Step, Trace


@dataclass(frozen=True)
class NamedEngine:
    """All that the service asks of an engine that a pretended chat has."""

    name: str = "tiny"


ENGINE = NamedEngine()


class Chat:
    """A conversation that yields what it is given, and raises what is an exception."""

    def __init__(self, *events):
        self.events, self.turns, self.engine = events, [], ENGINE

    def ask(self, text, *_, **__):
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Trace):
                self.turns.append(text)
            yield event

    def edit(self, index, text, *_, **__):
        del self.turns[index:]
        yield from self.ask(text)

    def undo(self):
        self.turns.pop()


@pytest.fixture
def service(run):
    service = Service(engine=ENGINE)
    service._facts = run.facts
    return service


@pytest.fixture
def user():
    return UserSession()


def run(service: Service, user: UserSession, *events, ask: Ask = Ask("What?")) -> list:
    if user.chat is None:
        user.chat = Chat()
    user.chat.events = events
    user.begin()
    return list(service.turn(user, ask))


def test_events_in_the_page_s_words(service, user, trace):
    opening, frames, reading, first, second, end = run(
        service,
        user,
        Progress("media", "opening cat.png", 0, 1),
        Progress("media", "reading run.mp4", 12, 32),
        Progress("prefill", "reading tokens", 512, 1040),
        Step(7, "a", 20),
        Step(8, " cat", 21),
        trace,
    )
    assert opening == Working("opening cat.png", False, 0.0, "media")
    assert frames == Working("reading run.mp4, 12/32 frames", False, 12 / 32, "media")
    assert reading == Working("reading 528 tokens", True, 512 / 1040, "prefill")
    assert [first.text, second.text] == ["a", "a cat"]
    assert second.stats["answer_tokens"] == 2
    assert isinstance(end, Finished)


def test_a_turn_is_remembered_with_its_question(service, user, trace):
    run(service, user, trace, ask=Ask("Who?", ("/c/a.png",)))
    (exchange,) = user.exchanges
    assert (exchange.ask.text, exchange.answer, exchange.finish) == ("Who?", "a cat", "eos")
    assert user.runs() == [("Turn 1: Who?", exchange.run_id)]


def test_runs_are_found_by_their_id(service, user, trace):
    run_id = run(service, user, trace)[0].run.run_id
    assert service.run(run_id).trace is trace
    assert service.run("guess") is None


def test_only_so_many_runs_are_kept(service, user, trace, monkeypatch):
    monkeypatch.setattr(module, "MAX_RUNS", 2)
    ids = [run(service, user, trace)[0].run.run_id for _ in range(3)]
    assert [service.run(run_id) is not None for run_id in ids] == [False, True, True]


def test_an_edit_takes_the_place_of_what_came_after(service, user, trace):
    for text in ("one", "two", "three"):
        run(service, user, trace, ask=Ask(text))
    run(service, user, trace, ask=Ask("other", replaces=1))
    assert [exchange.ask.text for exchange in user.exchanges] == ["one", "other"]
    assert user.chat.turns == ["one", "other"]


def test_an_edit_that_is_refused_changes_nothing(service, user, trace):
    run(service, user, trace, ask=Ask("one"))
    with pytest.raises(Refused):
        run(service, user, InputError("Type a question first."), ask=Ask(" ", replaces=0))
    assert [exchange.ask.text for exchange in user.exchanges] == ["one"]


def test_a_question_to_an_earlier_model_is_asked_anew(service, user, trace, monkeypatch):
    run(service, user, trace, ask=Ask("one"))
    user.part()
    monkeypatch.setattr(backend, "ChatSession", lambda engine, open_media: Chat(trace))
    run(service, user, trace, ask=Ask("two"))
    list(service.turn(user, Ask("again", replaces=0)))
    assert [exchange.ask.text for exchange in user.exchanges] == user.chat.turns == ["again"]


def test_undo_takes_back_one_turn_on_both_sides(service, user, trace):
    run(service, user, trace, ask=Ask("one"))
    run(service, user, trace, ask=Ask("two"))
    assert service.undo(user).ask.text == "two"
    assert user.chat.turns == ["one"]
    service.undo(user)
    with pytest.raises(Refused):
        service.undo(user)


def test_wrong_input_is_refused_with_its_message(service, user):
    with pytest.raises(Refused, match=r"cat\.png: the file is empty"):
        run(service, user, MediaError("cat.png", "the file is empty"))


def test_a_surprise_goes_to_the_log_and_only_its_reference_to_the_person(service, user, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(Failed) as caught:
        run(service, user, Step(7, "half", 20), RuntimeError("secret path /srv/x"))
    assert caught.value.said == "half"
    assert "secret" not in str(caught.value)
    assert caught.value.reference in str(caught.value)
    assert caught.value.reference in caplog.text
    assert "secret path" in caplog.text
    assert user.exchanges[-1].answer == "half"


def test_a_model_that_cannot_be_loaded_leaves_the_one_in_use(service, user, trace):
    service.load(Choice("no-such-model")).join()
    assert service.loading().state == "failed"
    assert "no-such-model" in service.loading().text
    assert isinstance(run(service, user, trace)[-1], Finished)


def test_without_any_model_the_reason_is_told(user):
    service = Service()
    service.load(Choice("no-such-model")).join()
    user.begin()
    with pytest.raises(Refused, match="no-such-model"):
        list(service.turn(user, Ask("Hi")))


def test_inspecting_folders_of_the_server_is_refused(service):
    with pytest.raises(Refused, match="give one of tiny"):
        service.inspect([], "/etc", "")


def test_traces_of_a_stopped_turn_stay_in_step(service, user, trace):
    stopped = replace(trace, answer="", finish="stopped")
    run(service, user, stopped)
    assert len(user.exchanges) == len(user.chat.turns) == 1


def test_what_came_from_the_hub_is_told(monkeypatch, tmp_path):
    blobs = tmp_path / "models--who--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(bytes(1000))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert fetched_bytes("who/model") == 1000
    assert fetched_bytes("who/other") == fetched_bytes("tiny") == fetched_bytes(str(tmp_path)) == 0


def test_a_preset_means_its_weights_on_the_hub(service, monkeypatch):
    asked = []

    def refuse(model, **_):
        asked.append(model)
        raise InputError(f"{model}: not here")

    monkeypatch.setattr(backend.engines, "open_engine", refuse)
    for name in backend.known_models():
        service.load(Choice(name)).join()
    assert asked[0] == "tiny"
    assert all(model.startswith("Qwen/Qwen") and model.endswith("-Instruct") for model in asked[1:])
    assert len(asked) == len(backend.HUB) + 1


def test_the_model_card_says_what_the_embedded_model_can_do():
    can, cannot = backend.from_card("What it knows"), backend.from_card("What it does not know")
    assert "shapes" in can and "photographs" in cannot
    assert all(len(words) < 700 and "\n" not in words and "#" not in words for words in (can, cannot))
    assert backend.from_card("No such heading") == ""
