"""Chats over a server that follows a script: what is sent, what comes back, and every way to fail."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_server import FakeServer, words
from PIL import Image

from vlm.chat.payload import not_heeded, to_body
from vlm.chat.remote import RemoteEngine
from vlm.chat.request import Turn
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.inputs.media import open_media
from vlm.records import InputError, Step, Trace

ROOT = Path(__file__).parents[2]
KEY = "sk-very-secret-42"
CIRCLE, CLIP = ROOT / "examples/circle.png", ROOT / "examples/moving_circle.mp4"


@pytest.fixture
def server():
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def connect(exact):
    def connect(server, **kwargs):
        return RemoteEngine(exact.config, exact.tokenizer, "m", server.url, api_key=KEY, **kwargs)

    return connect


@pytest.fixture
def session(server, connect):
    return ChatSession(connect(server, timeout=5))


def ask(session, text="Hello!", *files, **kwargs) -> Trace:
    *_, last = session.ask(text, files, **kwargs)
    assert isinstance(last, Trace)
    return last


def test_steps_come_as_text_and_the_trace_holds_our_own_tokens(session, server):
    server.script = words("A re", "d circle", ".")
    events = list(session.ask("What is this?", [CIRCLE]))
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.text for step in steps] == ["A re", "d circle", ".", ""]
    assert {step.token for step in steps} == {None} and steps[-1].finish == "eos"
    trace, tokenizer = events[-1], session.engine.tokenizer
    answer = trace.sequence.spans[-1]
    assert answer.kind == "answer" and trace.answer == session.turns[0].answer == "A red circle."
    assert trace.sequence.ids[answer.start :].tolist() == tokenizer.encode("A red circle.")
    assert session.turns[0].answer_ids == tuple(tokenizer.encode("A red circle."))
    assert len(trace.tokens) == len(trace.sequence) == trace.sequence.positions.shape[1]


def test_every_turn_is_sent_again_with_its_pictures_as_the_model_sees_them(session, server):
    first = ask(session, "What is this?", CIRCLE)
    ask(session, "And its colour?")
    user, assistant, again = server.bodies[-1]["messages"]
    picture, text = user["content"]
    kind, _, data = picture["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/png"
    sent = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.array_equal(sent, first.sequence.media[0].resized[0])
    assert text == {"type": "text", "text": "What is this?"}
    assert assistant == {"role": "assistant", "content": "Hello."}
    assert again["content"] == [{"type": "text", "text": "And its colour?"}]


def test_a_picture_is_packed_once_a_chat(session, server, monkeypatch):
    ask(session, "What is this?", CIRCLE)
    monkeypatch.setattr("vlm.chat.payload._png", None)
    ask(session, "And its colour?")
    first, second = (body["messages"][0] for body in server.bodies)
    assert first == second
    session.clear()
    assert session.engine._links == {}


@pytest.mark.parametrize("timed", [True, False])
def test_a_clip_is_sent_as_the_frames_that_were_sampled(session, server, tmp_path, timed):
    """A server that reads it as we read files finds the same grid, frames and times."""
    engine = session.engine
    engine.config = replace(engine.config, tokens=replace(engine.config.tokens, frame_timestamps=timed))
    clip = ask(session, "Where does it go?", CLIP).sequence.media[0]
    body = server.bodies[-1]
    kind, _, data = body["messages"][0]["content"][0]["video_url"]["url"].partition(";base64,")
    assert kind == "data:video/mp4"
    assert body["media_io_kwargs"] == {"video": {"num_frames": -1}}
    (tmp_path / "sent.mp4").write_bytes(base64.b64decode(data))
    sent = open_media(tmp_path / "sent.mp4").patches(engine.config.pixels)
    assert (sent.grid_thw, len(sent.frame_timestamps)) == (clip.grid_thw, len(clip.frame_timestamps))
    # Half a level of Y, U and V in 8-bit limited range is 0.58 + 1.01 levels of blue, and rounding another.
    assert np.abs(sent.resized.astype(int) - clip.resized).mean() < 2.1
    if timed:  # as even as the clip's own eight frames a second allow
        assert sent.frame_timestamps == pytest.approx(clip.frame_timestamps, abs=1 / 8)
    else:
        assert sent.sampled_fps == pytest.approx(clip.sampled_fps, rel=1e-3)


FULL = Sampling(50, 0.7, 20, 0.9, 0.05, 1.1, 0.3, seed=0, stop=("\n\n",))


def test_settings_reach_a_server_that_takes_them_all(session, server):
    ask(session, sampling=FULL)
    asked = {name: server.bodies[-1][name] for name in ("max_tokens", "temperature", "top_p", "seed", "stop")}
    assert asked == {"max_tokens": 50, "temperature": 0.7, "top_p": 0.9, "seed": 0, "stop": ["\n\n"]}
    more = ("presence_penalty", "top_k", "min_p", "repetition_penalty", "stream", "stream_options", "model")
    assert [server.bodies[-1][name] for name in more] == [
        0.3, 20, 0.05, 1.1, True, {"include_usage": True}, "m"
    ]  # fmt: skip


def test_neutral_settings_are_said_too_for_servers_take_the_checkpoints_defaults_else(session, server):
    ask(session)
    body = server.bodies[-1]
    assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"]) == (0, 1, -1, 0)
    assert body["repetition_penalty"] == 1 and "seed" not in body and "stop" not in body


def test_transformers_serve_gets_a_generation_config():
    turns = [Turn("Hello")]
    body = to_body(turns, FULL, "transformers", room=1000, eos=(2, 0), links={})
    assert "stop" not in body  # it fails on them; the answer is cut here
    assert json.loads(body["extra_body"]["generation_config"]) == {
        "do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.05,
        "repetition_penalty": 1.1, "eos_token_id": [2, 0], "pad_token_id": 2,
    }  # fmt: skip
    greedy = to_body(turns, Sampling(), "transformers", room=1000, eos=(2,), links={})["extra_body"]
    assert json.loads(greedy["generation_config"])["do_sample"] is False


@pytest.mark.parametrize(
    ("kind", "ignored"),
    [
        ("vllm", []),
        ("sglang", ["seed"]),
        ("transformers", ["presence_penalty"]),
        ("other", ["min_p", "repetition_penalty", "top_k"]),
    ],
)
def test_what_a_server_does_not_take_is_known(kind, ignored):
    assert not_heeded(FULL, kind) == ignored


def test_settings_that_are_not_taken_are_noted_and_not_sent(connect):
    server = FakeServer(owner="somebody")
    trace = ask(ChatSession(connect(server)), sampling=Sampling(top_k=5))
    server.close()
    assert any("top_k" in note for note in trace.stats["notes"])
    assert "top_k" not in server.bodies[-1]


def test_the_engines_counts_are_in_the_statistics_and_a_difference_is_noted(session, server):
    prompt = ask(session).stats["prompt_tokens"]
    session.clear()
    usage = {"prompt_tokens": prompt, "completion_tokens": 9, "total_tokens": prompt + 9}
    server.script = words("Hi", usage=usage | {"prompt_tokens_details": {"cached_tokens": 4}})
    stats = ask(session).stats
    assert (stats["answer_tokens"], stats["reused_tokens"], stats["notes"]) == (9, 4, [])
    assert stats["first_token_ms"] > 0 and stats["decode_tokens_per_s"] > 0
    session.clear()
    server.script = words("Hi", usage=usage | {"prompt_tokens": prompt + 7})
    (note,) = ask(session).stats["notes"]
    assert str(prompt + 7) in note and str(prompt) in note


@pytest.mark.parametrize(
    ("said", "last", "sampling", "finish", "answer"),
    [
        (["one ", "two"], {"finish": "length"}, Sampling(2), "length", "one two"),
        (["one", " st", "op two"], {}, Sampling(stop=("stop",)), "stop", "one "),
        (["one "], {"stop_reason": "stop"}, Sampling(stop=("stop",)), "stop", "one "),
        (["one st"], {}, Sampling(stop=("stop",)), "eos", "one st"),
        (["a ", "b "] * 40, {}, Sampling(), "loop", "a b " * 32),
        (["one"], {"finish": "content_filter"}, Sampling(), "cut", "one"),
        ([], {}, Sampling(), "eos", ""),
    ],
    ids=["length", "stop string", "stopped there", "half a stop string", "loop", "filter", "nothing"],
)
def test_how_answers_end(session, server, said, last, sampling, finish, answer):
    server.script = words(*said, **last)
    trace = ask(session, sampling=sampling)
    assert (trace.finish, trace.answer, session.turns[0].answer) == (finish, answer, answer)


def test_logprobs_come_with_the_steps(session, server):
    told = {"content": [{"token": "Hi", "logprob": -0.25, "bytes": None, "top_logprobs": []}]}

    def script(reply):
        reply.chunk("Hi", logprobs=told)
        words()(reply)

    server.script = script
    first, *_ = [e for e in session.ask("Hello", sampling=Sampling(logprobs=True)) if isinstance(e, Step)]
    assert server.bodies[-1]["logprobs"] is True and first.logprob == -0.25


def test_a_shorter_context_at_the_server_counts(connect):
    server = FakeServer(context=40)
    session = ChatSession(connect(server))
    plan = session.plan("Hello!")
    assert plan.context_length == 40
    server.script = words("Hi", finish="length")
    assert ask(session).finish == "context"
    assert server.bodies[-1]["max_tokens"] == 40 - len(plan.sequence)
    with pytest.raises(InputError, match="context"):
        ask(session, "word " * 60)
    server.close()


# Failures.


def free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return plug.getsockname()[1]


def test_nothing_listens_there(exact):
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(InputError, match=f"No connection with an engine at {url}"):
        RemoteEngine(exact.config, exact.tokenizer, "m", url)


def test_the_server_goes_away_between_two_turns(session, server):
    ask(session)
    server.close()
    with pytest.raises(InputError, match="No connection"):
        ask(session, "Still there?")
    assert [turn.text for turn in session.turns] == ["Hello!"]


def test_another_model_is_served(exact):
    server = FakeServer(names=("one", "two"))
    with pytest.raises(InputError, match="serves one, two, not m"):
        RemoteEngine(exact.config, exact.tokenizer, "m", server.url)
    server.close()


def test_a_silent_server_is_given_up(server, connect):
    server.script = lambda reply: reply.until_hung_up(None)
    session = ChatSession(connect(server, timeout=0.3))
    with pytest.raises(InputError, match="silent"):
        ask(session)
    assert session.turns == [] and server.hung_up.wait(5)


@pytest.mark.parametrize(
    ("status", "match"),
    [
        (401, "wants another key: set OPENAI_API_KEY"),
        (403, "wants another key"),
        (404, "has no model 'm'.*such a pity"),
        (400, r"refused the request \(400\).*such a pity"),
        (422, r"refused the request \(422\).*such a pity"),
        (429, "is busy"),
        (500, "failed.*such a pity"),
    ],
)
@pytest.mark.parametrize("shape", [lambda text: {"error": {"message": text}}, lambda text: {"detail": text}])
def test_refusals_are_said_in_words_without_the_key(session, server, status, match, shape):
    server.script = lambda reply: reply.error(status, shape(f"such a pity, {KEY}"))
    with pytest.raises(InputError, match=match) as caught:
        ask(session)
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in str(caught.value) and caught.value.__suppress_context__
    assert session.turns == []


def test_an_answer_that_is_no_stream_of_chunks(session, server):
    server.script = lambda reply: (reply.raw("data: {<html>}\n\n"), reply.done())
    with pytest.raises(InputError, match="not the stream of a chat"):
        ask(session)


def break_after_two(how):
    def script(reply):
        reply.chunk("one ")
        reply.chunk("two")
        how(reply)

    return script


@pytest.mark.parametrize(
    "how",
    [
        lambda reply: reply.cut(),
        lambda reply: reply.done(),
        lambda reply: (reply.raw("data: {<html>}\n\n"), reply.done()),
        lambda reply: (reply.raw('data: {"error": {"message": "out of pages"}}\n\n'), reply.done()),
    ],
    ids=["hung up", "ended without a reason", "garbage", "error"],
)
def test_a_cut_keeps_what_was_said(session, server, how):
    server.script = break_after_two(how)
    trace = ask(session, "Count")
    assert (trace.finish, trace.answer) == ("cut", "one two")
    assert any("cut off" in note for note in trace.stats["notes"])
    server.script = words("three")
    ask(session, "Go on")
    assert [turn.answer for turn in session.turns] == ["one two", "three"]
    assert server.bodies[-1]["messages"][1]["content"] == "one two"


@pytest.mark.parametrize("word", ["word", None], ids=["while it speaks", "before the first word"])
def test_stop_hangs_up(session, server, word):
    server.script = lambda reply: reply.until_hung_up(word)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    trace = ask(session, stopped=stop.is_set)
    since = time.monotonic()
    assert trace.finish == "stopped" and bool(trace.answer) == bool(word)
    assert session.turns[0].answer == trace.answer
    assert server.hung_up.wait(5) and time.monotonic() - since < 2


def test_leaving_in_the_middle_hangs_up_and_keeps_what_was_said(session, server):
    server.script = lambda reply: reply.until_hung_up("word")
    events = session.ask("Hello!")
    while not isinstance(next(events), Step):
        pass
    events.close()
    assert server.hung_up.wait(5) and session.turns[0].answer == "word0 "


def test_two_chats_at_once_do_not_mix(server, connect):
    engine = connect(server)
    server.script = lambda reply: words(str(len(server.bodies[-1]["messages"])))(reply)
    one, two = ChatSession(engine), ChatSession(engine)
    first, second = one.ask("Hello!"), two.ask("Hello!")
    for _ in range(2):
        next(first), next(second)
    assert list(first)[-1].answer == list(second)[-1].answer == "1"


def test_clips_are_refused_where_the_server_takes_none(session, server):
    session.engine.kind = "transformers"
    with pytest.raises(InputError, match="takes no clips"):
        ask(session, "Where?", CLIP)
    assert server.bodies == [] and session.turns == []


# The door that the page and the command line use.


def test_the_config_may_come_from_elsewhere(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    engine = open_engine("m", engine=server.url, config="tiny", device="auto")
    ask(ChatSession(engine))
    assert server.keys == [f"Bearer {KEY}"]
    assert engine.facts()["device"] == f"{server.url} (vllm)" and KEY not in repr(vars(engine))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"model": "m"}, "--config FOLDER"),
        ({"model": "m", "config": "qwen3-vl-2b"}, "without a tokenizer: give --config FOLDER"),
        ({"config": "tiny", "device": "cuda"}, "--device is the server's"),
        ({"config": "tiny", "engine": "localhost:8000"}, "write http://host:port/v1"),
        ({"config": "tiny", "engine": "http://me:word@localhost/v1"}, "--api-key"),
        ({"engine": None, "api_key": KEY}, "go with --engine"),
    ],
)
def test_settings_that_cannot_work(server, arguments, match):
    with pytest.raises(InputError, match=match):
        open_engine(**{"engine": server.url, **arguments})


def test_a_cut_on_the_command_line_shows_what_was_said_and_ends_with_code_2(server):
    server.script = break_after_two(lambda reply: reply.cut())
    arguments = [
        "chat",
        "--engine",
        server.url,
        "--model",
        "m",
        "--config",
        "tiny",
        "--api-key",
        KEY,
        "Count",
    ]
    done = subprocess.run([sys.executable, "-m", "vlm", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "one two\n")
    (line,) = done.stderr.splitlines()
    assert "cut off" in line and KEY not in line
