"""Several chats on one engine: whose turn it is, what is kept for whom, and what happens at the limits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from talking import TOLERANCE, ask, logprobs

from vlm.chat.engine import Engine
from vlm.chat.queue import Queue
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.records import Progress, Step, Trace


def test_the_line_is_served_in_order_and_tells_the_place():
    queue = Queue()
    first, second, third = queue.join(), queue.join(), queue.join()
    assert [queue.place(ticket) for ticket in (first, second, third)] == [0, 1, 2]
    queue.leave(second)  # gave up waiting
    assert queue.place(third) == 1
    queue.leave(first)
    assert queue.place(third) == 0
    queue.leave(third)
    assert len(queue) == 0


def test_a_waiting_chat_hears_its_place_and_is_served_next(engine):
    before = [engine.queue.join(), engine.queue.join()]
    events = ChatSession(engine).ask("Hello!", sampling=Sampling(2))
    waiting = next(event for event in events if isinstance(event, Progress))
    assert (waiting.stage, waiting.done) == ("waiting", 2) and "2 other answers" in waiting.detail
    for ticket in before:
        engine.queue.leave(ticket)
    assert isinstance(list(events)[-1], Trace)


def test_answers_are_given_in_the_order_of_asking(engine):
    order = []
    blocker = engine.queue.join()

    def client(number: int) -> None:
        for event in ChatSession(engine).ask("Hello!", sampling=Sampling(3)):
            if isinstance(event, Trace):
                order.append(number)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for number, thread in enumerate(clients):
        thread.start()
        while len(engine.queue) < number + 2:  # it stands in line before the next one asks
            time.sleep(0.01)
    engine.queue.leave(blocker)
    for thread in clients:
        thread.join(60)
    assert order == [0, 1, 2, 3] and len(engine.queue) == 0


def test_interleaved_chats_say_what_each_would_say_alone(engine, picture):
    """Two chats with fixed seeds, turn about: the other's tokens, positions or pictures must not show."""
    talks = {
        "red": [("What colour is the circle?", ["red"]), ("Describe the picture.", []), ("Where is it?", [])],
        "blue": [("Hello!", []), ("What shape is this?", ["blue"]), ("Describe the picture.", [])],
    }
    sampling = Sampling(8, temperature=0.8, seed=3)

    def say(session, turn):
        text, colours = turn
        return ask(session, text, *map(picture, colours), sampling=sampling).answer

    alone = {}
    for name, turns in talks.items():
        session = ChatSession(engine)
        alone[name] = [say(session, turn) for turn in turns]
        engine.free_memory()
    chats = {name: ChatSession(engine) for name in talks}
    together = {name: [] for name in talks}
    for number in range(3):
        for name, turns in talks.items():
            together[name].append(say(chats[name], turns[number]))
    assert together == alone


def test_silent_chats_are_computed_again_beyond_the_bound(exact, picture):
    engine = Engine(exact.model, exact.tokenizer, "tiny", cache_bytes=300_000)
    chats = [ChatSession(engine) for _ in range(4)]
    for number, chat in enumerate(chats):
        ask(chat, "What colour is the circle?", picture("red"))
        assert engine.caches.nbytes <= 300_000 or len(engine.caches) == 1, number
    assert len(engine.caches) < 4
    assert engine.shared_tokens(chats[0]._chat, _next_prompt(chats[0])) == 0
    assert engine.shared_tokens(chats[3]._chat, _next_prompt(chats[3])) > 36
    cold = _copy(chats[0])
    assert logprobs(chats[0], "How many are there?") == pytest.approx(
        logprobs(cold, "How many are there?"), abs=TOLERANCE
    )


def _next_prompt(session):
    return session.plan("And now?").sequence


def _copy(session):
    other = ChatSession(session.engine)
    other.turns = list(session.turns)
    return other


def test_a_chat_that_nobody_holds_frees_its_cache(engine, picture):
    session = ChatSession(engine)
    ask(session, "What is this?", picture("red"))
    assert len(engine.caches) == 1
    del session
    assert len(engine.caches) == 0


def test_only_media_behind_the_cache_are_encoded(engine, picture, monkeypatch):
    """With the keys of an earlier picture still there, its features are not needed, even if forgotten."""
    session = ChatSession(engine)
    ask(session, "What is this?", picture("red"))
    engine.memo.clear()
    encoded = []
    original = engine.model.encode
    monkeypatch.setattr(engine.model, "encode", lambda media: encoded.append(len(media)) or original(media))
    stats = ask(session, "And this?", picture("blue")).stats
    assert encoded == [1] and stats["encoded_patches"] == 144


@pytest.mark.parametrize(("rooms", "most"), [("tower.blocks", 1), ("decoder.layers", 1)])
def test_stop_is_obeyed_inside_one_call_of_the_model(engine, picture, rooms, most):
    """Stop comes while a layer runs: no other layer of that call begins."""
    ran, stop = [], threading.Event()

    def hook(*_):
        ran.append(1)
        stop.set()

    layers = engine.model.get_submodule(rooms)
    hooks = [layer.register_forward_hook(hook) for layer in layers]
    try:
        trace = ask(ChatSession(engine), "What is this?", picture("red"), stopped=stop.is_set)
    finally:
        for handle in hooks:
            handle.remove()
    assert trace.finish == "stopped" and trace.answer == "" and len(ran) == most
    assert len(engine.queue) == 0


def test_other_chats_make_room_when_memory_is_short(engine, picture, monkeypatch):
    older, newer = ChatSession(engine), ChatSession(engine)
    ask(older, "What is this?", picture("red"))
    plan = newer.plan("What is this?", [picture("red")])
    monkeypatch.setattr("vlm.chat.engine.free_bytes", lambda device: plan.memory_bytes - 1)
    ask(newer, "What is this?", picture("red"))
    assert len(engine.caches) == 1


def fail_once(monkeypatch, owner, name, error):
    original, calls = getattr(owner, name), []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return calls


def test_out_of_memory_frees_reports_and_tries_smaller_once(engine, picture, monkeypatch):
    other = ChatSession(engine)
    ask(other, "Hello!")
    session = ChatSession(engine)
    fail_once(monkeypatch, engine.model, "encode", torch.OutOfMemoryError("CUDA out of memory"))
    events = list(session.ask("What is this?", [picture("red")], Sampling(4)))
    (report,) = [e for e in events if isinstance(e, Progress) and e.stage == "memory"]
    assert "at most 18,432 pixels" in report.detail  # half of 192 × 192
    trace = events[-1]
    height, width = trace.sequence.media[0].resized.shape[1:3]
    assert height * width <= 18_432
    assert session.turns[-1].options.max_pixels == 18_432 and len(engine.caches) == 1


def test_out_of_memory_twice_is_said_and_the_chat_stays(engine, picture, monkeypatch):
    session = ChatSession(engine)
    ask(session, "Hello!")

    def never(media):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine.model, "encode", never)
    with pytest.raises(ValueError, match=r"ran out of memory, also with pictures of at most 18,432 pixels"):
        ask(session, "What is this?", picture("red"))
    assert len(session.turns) == 1 and len(engine.queue) == 0
    monkeypatch.undo()
    assert ask(session, "What is this?", picture("red")).answer


def test_out_of_memory_while_reading_text_reads_in_smaller_pieces(engine, monkeypatch):
    session = ChatSession(engine)
    calls = fail_once(monkeypatch, engine.model, "forward", MemoryError())
    events = list(session.ask("word " * 100, sampling=Sampling(4)))
    assert any(isinstance(e, Progress) and "smaller pieces" in e.detail for e in events)
    assert isinstance(events[-1], Trace) and len(calls) > 2


def test_out_of_memory_while_writing_keeps_what_was_said(engine, monkeypatch):
    session = ChatSession(engine)
    fail_once(monkeypatch, engine.model, "step", MemoryError())
    events = list(session.ask("Hello!", sampling=Sampling(20)))
    said = "".join(event.text for event in events if isinstance(event, Step))
    assert said and events[-1].finish == "memory" and session.turns[-1].answer == said


def test_other_errors_are_not_taken_for_a_lack_of_memory(engine, monkeypatch):
    fail_once(monkeypatch, engine.model, "forward", RuntimeError("CUDA error: device-side assert"))
    with pytest.raises(RuntimeError, match="device-side"):
        ask(ChatSession(engine), "Hello!")


ROOT = Path(__file__).parents[2]
SHORT_OF_MEMORY = Path(__file__).with_name("short_of_memory.py")


def test_a_real_lack_of_memory_ends_in_an_answer():
    """A process that may not have the memory: the allocator itself refuses, and the second try succeeds."""
    # One arena: address space that malloc reserves for other threads would count as room.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, str(SHORT_OF_MEMORY)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "out of memory: trying again with pictures of at most" in done.stdout
    assert "answered" in done.stdout
