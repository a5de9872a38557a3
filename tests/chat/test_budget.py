"""What a turn will take is known before work, and what does not fit comes with ways out that work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from talking import SAMPLING, ask

from vlm.chat.engine import Engine
from vlm.chat.session import BudgetError, ChatSession
from vlm.inputs.media import MediaOptions, Medium
from vlm.records import Trace

CLIP = "examples/moving_circle.mp4"


@pytest.fixture
def narrow(exact):
    """The embedded model with room for 150 tokens."""
    model = exact.model
    wide = model.config
    model.config = replace(wide, decoder=replace(wide.decoder, context_length=150))
    yield Engine(model, exact.tokenizer, "narrow")
    model.config = wide


def test_the_count_is_exact_before_anything_is_decoded(session, picture, monkeypatch):
    files = [picture("red"), CLIP]
    ask(session, "Hello!")
    with monkeypatch.context() as patch:
        patch.setattr(Medium, "read", lambda *args: pytest.fail("decoded"))
        plan = session.plan("What is this?", files)
    trace = ask(session, "What is this?", *files)
    assert len(plan.sequence) == trace.stats["prompt_tokens"]
    assert plan.sequence.ids.tolist() == trace.sequence.ids[: len(plan.sequence)].tolist()
    assert [m.tokens for m in plan.media] == [m.tokens for m in trace.sequence.media]
    assert plan.left == 4096 - len(plan.sequence)
    assert plan.problem is None and plan.choices == ()


def test_new_tokens_are_those_that_the_cache_lacks(session, picture):
    first = ask(session, "What is this?", picture("red"))
    plan = session.plan("And where is it?")
    second = ask(session, "And where is it?")
    assert plan.new_tokens == second.stats["computed_tokens"] < first.stats["prompt_tokens"]


def test_the_time_is_known_once_something_was_measured(session, picture):
    file = picture("red")
    assert session.plan("What is this?", [file]).seconds is None
    ask(session, "What is this?", file)
    assert 0 < session.plan("And this?", [picture("blue")]).seconds < 60


def refused(session, text, *files) -> BudgetError:
    with pytest.raises(BudgetError) as caught:
        ask(session, text, *files)
    return caught.value


def take(session, choice, text, *files) -> Trace:
    *_, trace = session.ask(text, files, SAMPLING, choice=choice)
    return trace


def test_too_many_pixels_for_the_context(narrow, picture):
    session = ChatSession(narrow)
    files = [picture(colour) for colour in ("red", "blue", "green", "pink")]
    error = refused(session, "What are these?", *files)
    assert f"{len(error.plan.sequence)} tokens" in str(error) and "holds 150" in str(error)
    assert len(error.plan.sequence) > 4 * 36 and session.turns == []
    (choice,) = error.plan.choices
    assert choice.kind == "pixels" and choice.text in str(error)
    trace = take(session, choice, "What are these?", *files)
    assert trace.stats["prompt_tokens"] == choice.tokens < 150


def test_too_many_frames_for_the_context(narrow):
    session = ChatSession(narrow)
    error = refused(session, "Which way does it move? " * 13, CLIP)
    choice = next(choice for choice in error.plan.choices if choice.kind == "frames")
    trace = take(session, choice, "Which way does it move? " * 13, CLIP)
    assert trace.stats["prompt_tokens"] == choice.tokens
    assert len(trace.sequence.media[0].resized) == choice.options.max_frames


def test_the_oldest_media_may_go_and_their_words_stay(narrow, picture):
    session = ChatSession(narrow)
    ask(session, "What colour is this?", picture("red"))
    ask(session, "And this?", picture("blue"))
    before = list(session.turns)
    error = refused(session, "And this one?", picture("green"))
    assert session.turns == before
    choice = next(choice for choice in error.plan.choices if choice.kind == "media")
    assert choice.drop == 1
    trace = take(session, choice, "And this one?", picture("green"))
    assert [turn.text for turn in session.turns] == ["What colour is this?", "And this?", "And this one?"]
    assert [len(turn.media) for turn in session.turns] == [0, 1, 1]
    assert trace.stats["prompt_tokens"] == choice.tokens


def test_the_oldest_turns_may_go_where_words_alone_fill_the_context(narrow):
    session = ChatSession(narrow)
    for number in range(20):
        try:
            ask(session, f"Hello number {number}, how are you today?")
        except BudgetError as error:
            (choice,) = error.plan.choices
            break
    assert choice.kind == "turns"
    kept = session.turns[choice.drop :]
    take(session, choice, "Hello again, how are you today?")
    assert session.turns[:-1] == kept


def test_a_failed_choice_drops_nothing(narrow, picture, monkeypatch):
    session = ChatSession(narrow)
    for colour in ("red", "blue"):
        ask(session, "What colour is this?", picture(colour))
    before = list(session.turns)
    error = refused(session, "And this one?", picture("green"))
    monkeypatch.setattr(narrow, "_see", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        take(session, error.plan.choices[-1], "And this one?", picture("green"))
    assert session.turns == before


def test_nothing_helps_against_a_question_longer_than_the_context(narrow):
    error = refused(ChatSession(narrow), "word " * 200)
    assert error.plan.choices == () and "Clear the chat" not in str(error)
    assert "shorter" in str(error)


def test_too_little_memory_is_said_before_work(session, picture, monkeypatch):
    file = picture("red")
    need = session.plan("What is this?", [file]).memory_bytes
    monkeypatch.setattr("vlm.chat.engine.free_bytes", lambda device: need - 1)
    error = refused(session, "What is this?", file)
    assert "of memory" in str(error) and "MiB are free" in str(error)
    trace = take(session, error.plan.choices[0], "What is this?", file)
    assert trace.stats["prompt_tokens"] == error.plan.choices[0].tokens


def test_wishes_for_size_and_frames_are_followed(session, picture):
    trace = ask(session, "What is this?", picture("red"), options=MediaOptions(max_pixels=10_000))
    height, width = trace.sequence.media[0].resized.shape[1:3]
    assert height * width <= 10_000
    trace = ask(session, "And this?", CLIP, options=MediaOptions(max_frames=4))
    assert len(trace.sequence.media[-1].resized) == 4
