"""Conversations: what is kept, what is computed again, and that neither changes an answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from talking import SAMPLING, TOLERANCE, ask, logprobs

from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession, Engine
from vlm.records import InputError, MediaError, Progress, Step, Trace


def test_events_come_in_order_and_add_up_to_the_answer(session, picture):
    events = list(session.ask("What colour is the circle?", [picture("red")], SAMPLING))
    kinds = [type(event) for event in events]
    first_step = kinds.index(Step)
    assert set(kinds[:first_step]) == {Progress}
    assert set(kinds[first_step:-1]) == {Step}
    trace = events[-1]
    assert trace.answer == "".join(event.text for event in events if isinstance(event, Step))
    assert len(trace.tokens) == len(trace.sequence) == trace.sequence.positions.shape[1]
    assert sum(trace.stats["prompt_tokens_by_kind"].values()) == trace.stats["prompt_tokens"]


def test_the_answer_continues_the_prompt_positions(session, picture):
    sequence = ask(session, "What is this?", picture("blue")).sequence
    answer = sequence.spans[-1]
    assert answer.kind == "answer"
    expected = torch.arange(answer.start, answer.stop) + sequence.rope_delta
    assert torch.equal(sequence.positions[:, answer.start :], expected.expand(3, -1))


CLIP = "examples/moving_circle.mp4"
TALKS = {
    "second question": [("What colour is the circle?", ["red"]), ("How many objects are there?", [])],
    "second picture": [("What is this?", ["red"]), ("And this?", ["blue wide"])],
    "same size, other picture": [("What is this?", ["red"]), ("And this?", ["blue"])],
    "same picture again": [("What is this?", ["red"]), ("And this?", ["red"])],
    "picture in turn 3": [("Hello!", []), ("Hello again!", []), ("What colour is it?", ["green"])],
    "clip, then picture": [("Which way does it move?", [CLIP]), ("And what is this?", ["red"])],
    "picture and clip at once": [("Hello!", []), ("What are these?", ["red", CLIP])],
}


@pytest.mark.parametrize("turns", TALKS.values(), ids=TALKS)
def test_warm_equals_cold(engine, picture, turns):
    def file(name):
        colour, _, wide = name.partition(" ")
        return CLIP if name == CLIP else picture(colour, (320, 160) if wide else (224, 224))

    warm = ChatSession(engine)
    for text, names in turns[:-1]:
        ask(warm, text, *map(file, names))
    cold = ChatSession(Engine(engine.model, engine.tokenizer, "cold"))
    cold.turns = list(warm.turns)
    text, names = turns[-1]
    files = [file(name) for name in names]
    expected, found = logprobs(cold, text, *files), logprobs(warm, text, *files)
    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert [turn.answer_ids for turn in warm.turns] == [turn.answer_ids for turn in cold.turns]


def test_the_second_turn_computes_only_what_is_new(session, picture):
    first = ask(session, "What colour is the circle?", picture("red"))
    second = ask(session, "What shape is it?")
    assert second.stats["reused_tokens"] >= first.stats["prompt_tokens"]
    assert second.stats["computed_tokens"] + second.stats["reused_tokens"] == second.stats["prompt_tokens"]
    assert second.sequence.ids[: len(first.sequence)].tolist() == first.sequence.ids.tolist()


def test_same_size_other_picture_does_not_reuse_its_keys(engine, picture):
    """Placeholders have one id for all pictures, so only the content tells them apart."""
    session = ChatSession(engine)
    red = ask(session, "What colour is the circle?", picture("red"))
    session.turns.clear()
    blue = ask(session, "What colour is the circle?", picture("blue"))
    assert blue.stats["reused_tokens"] == red.sequence.spans[2].start or blue.stats["reused_tokens"] < 8
    fresh = ask(ChatSession(engine), "What colour is the circle?", picture("blue"))
    assert blue.answer == fresh.answer


def test_an_encoded_picture_is_not_encoded_again(engine, picture, monkeypatch):
    path = picture("red")
    ask(ChatSession(engine), "What is this?", path)
    encoded = []
    original = engine.model.encode
    monkeypatch.setattr(engine.model, "encode", lambda media: encoded.append(len(media)) or original(media))
    ask(ChatSession(engine), "What colour is it?", path)
    assert encoded == []


def test_the_memo_forgets_the_oldest_beyond_its_bound(exact, picture):
    engine = Engine(exact.model, exact.tokenizer, "tiny", memo_bytes=1)
    session = ChatSession(engine)
    ask(session, "What is this?", picture("red"), picture("blue"))
    assert len(engine.memo) == 0
    assert ask(session, "And now?").answer == ask(_copy(session, 1), "And now?").answer


def _copy(session, turns):
    other = ChatSession(session.engine)
    other.turns = session.turns[:turns]
    return other


def test_stop_ends_within_one_token_and_keeps_what_was_said(session, monkeypatch):
    config = session.engine.config  # without an end of its own, whatever the weights would say
    monkeypatch.setattr(
        session.engine.model, "config", replace(config, tokens=replace(config.tokens, eos=()))
    )
    seen = []
    events = session.ask("Describe the picture.", [], Sampling(200, temperature=2.0, seed=1),
                         stopped=lambda: len(seen) >= 3)  # fmt: skip
    for event in events:
        if isinstance(event, Step):
            seen.append(event)
        elif isinstance(event, Trace):
            trace = event
    assert trace.finish == "stopped" and len(seen) == 4
    assert session.turns[-1].answer_ids == tuple(step.token for step in seen)


def test_stop_before_the_first_token(session, picture):
    trace = ask(session, "What is this?", picture("red"), stopped=lambda: True)
    assert trace.finish == "stopped" and trace.answer == ""


def test_a_listener_that_goes_away_leaves_the_partial_answer(session):
    events = session.ask("Describe the picture.", [], Sampling(50, temperature=2.0, seed=1))
    for event in events:
        if isinstance(event, Step):
            break
    events.close()
    assert len(session.turns) == 1 and len(session.engine.queue) == 0


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_question_is_refused(session, text):
    with pytest.raises(InputError, match="question"):
        ask(session, text)


def test_a_refused_file_leaves_the_chat_as_it_was(session, picture, tmp_path):
    ask(session, "What is this?", picture("red"))
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    with pytest.raises(MediaError, match=r"notes\.png"):
        ask(session, "And this?", bad)
    assert len(session.turns) == 1 and len(session.engine.queue) == 0
    assert ask(session, "What colour is the circle?").stats["reused_tokens"] > 0


def test_control_tokens_in_the_question_are_refused(session):
    with pytest.raises(InputError, match="control token"):
        ask(session, "ignore <|image_pad|> this")


def test_a_prompt_beyond_the_context_is_refused_before_work(session):
    with pytest.raises(InputError, match="context"):
        ask(session, "word " * 5000)
    assert session.turns == []


def test_two_chats_do_not_leak_into_each_other(engine, picture):
    """A text chat after a picture chat in one process: no rope delta may linger."""
    alone = ask(ChatSession(engine), "Hello!")
    ask(ChatSession(engine), "What is this?", picture("red"))
    after = ask(ChatSession(engine), "Hello!")
    assert after.answer == alone.answer
    assert torch.equal(after.sequence.positions, alone.sequence.positions)


def test_clear_forgets_everything(session, picture):
    ask(session, "What is this?", picture("red"))
    session.clear()
    assert ask(session, "Hello!").stats["reused_tokens"] == 0


def test_a_warm_up_leaves_nothing_behind(engine):
    engine.warm_up()
    assert not len(engine.memo) and not len(engine.caches) and not len(engine.queue)


def redo(session, action: str):
    """Steps of an edit or retry, or of a question after an undo."""
    if action == "edit":
        events = session.edit(0, "What shape is this?", SAMPLING)
    elif action == "retry":
        events = session.retry(SAMPLING)
    else:
        session.undo()
        events = session.ask("What shape is this?", sampling=SAMPLING)
    return [event.logprob for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("action", ["edit", "retry", "undo"])
def test_warm_equals_cold_after_changes(engine, picture, action):
    warm = ChatSession(engine)
    ask(warm, "What colour is the circle?", picture("red"))
    ask(warm, "How many objects are there?")
    cold = _copy(warm, 2)
    assert redo(warm, action) == pytest.approx(redo(cold, action), abs=TOLERANCE)
    assert [turn.text for turn in warm.turns] == [turn.text for turn in cold.turns]


def test_an_edit_keeps_the_files_and_drops_what_came_after(session, picture):
    ask(session, "What colour is the circle?", picture("red"))
    ask(session, "How many objects are there?")
    *_, trace = session.edit(0, "What shape is this?", SAMPLING)
    assert [turn.text for turn in session.turns] == ["What shape is this?"]
    assert trace.stats["prompt_tokens_by_kind"]["image"] == 36
    assert trace.stats["reused_tokens"] > 36  # the picture's keys are still good


def test_a_refused_edit_leaves_the_chat_as_it_was(session):
    ask(session, "Hello!")
    ask(session, "Hello again!")
    with pytest.raises(InputError, match="context"):
        list(session.edit(0, "word " * 5000))
    assert [turn.text for turn in session.turns] == ["Hello!", "Hello again!"]
    with pytest.raises(InputError, match="no turn"):
        list(session.edit(5, "Hello"))


def test_nothing_to_undo_or_retry(session):
    with pytest.raises(InputError, match="no turn"):
        session.undo()
    with pytest.raises(InputError, match="no turn"):
        list(session.retry())


def test_a_stop_string_ends_the_answer(session, picture):
    whole = ask(session, "Describe the picture.", picture("red"), sampling=Sampling(60)).answer
    assert " " in whole
    session.clear()
    cut = ask(session, "Describe the picture.", picture("red"), sampling=Sampling(60, stop=(" ",)))
    assert cut.finish == "stop" and cut.answer == whole.split(" ")[0]


def test_a_loop_is_noticed_and_ended(session, monkeypatch):
    step = session.engine.model.step
    favourite = session.engine.tokenizer.encode("red")[0]

    def stuck(*args):
        return step(*args).index_fill(0, torch.tensor([favourite]), 1e4)

    monkeypatch.setattr(session.engine.model, "step", stuck)
    trace = ask(session, "Describe the picture.", sampling=Sampling(500))
    assert trace.finish == "loop" and trace.stats["answer_tokens"] < 100


def test_an_edit_stopped_while_it_waits_loses_nothing(session):
    ask(session, "Hello!")
    ask(session, "Hello again!")
    other = session.engine.queue.join()
    events = list(session.edit(0, "Goodbye!", stopped=lambda: True))
    session.engine.queue.leave(other)
    assert not any(isinstance(event, Step | Trace) for event in events)
    assert [turn.text for turn in session.turns] == ["Hello!", "Hello again!"]


def test_an_edit_that_fails_loses_nothing(session, monkeypatch):
    ask(session, "Hello!")
    monkeypatch.setattr(session.engine, "_see", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(session.edit(0, "Goodbye!"))
    assert [turn.text for turn in session.turns] == ["Hello!"] and len(session.engine.queue) == 0
