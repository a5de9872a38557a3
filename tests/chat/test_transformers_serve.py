"""The embedded model behind a real `transformers serve`: the same answers as from our own engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.families.naming import TINY
from vlm.records import InputError, Step, Trace

HERE = Path(__file__).parent
PATIENCE = 120  # seconds
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(address, what the server calls the model)."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    shutil.copytree(TINY, folder)
    shutil.copyfile(HERE / "picture_processor.py", folder / "processing.py")
    own = {
        "processor_class": "PictureProcessor",
        "auto_map": {"AutoProcessor": "processing.PictureProcessor"},
    }
    (folder / "processor_config.json").write_text(json.dumps(own))
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        port = str(plug.getsockname()[1])
    program = [Path(sys.executable).with_name("transformers"), "serve", folder, "--trust-remote-code"]
    options = ["--dtype", "float32", "--device", "cpu", "--host", "127.0.0.1", "--port", port]
    log = folder.parent / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*program, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HOME": str(folder.parent / "hf"), "HF_HUB_OFFLINE": "1"},
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait(20)


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{log.read_text()}")
        try:
            DIRECT.open(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not answer within {PATIENCE} s:\n{log.read_text()}")


@pytest.fixture(scope="module")
def remote(served):
    url, name = served
    return open_engine(name, engine=url)


def ask(session, text, *files, **kwargs) -> Trace:
    *_, last = session.ask(text, files, **kwargs)
    assert isinstance(last, Trace)
    return last


def test_greedy_answers_are_those_of_our_engine(engine, remote, picture):
    """Text, pictures in several turns, and earlier turns sent again: word for word, token for token."""
    here, there = ChatSession(engine), ChatSession(remote)
    turns = [
        ("Hello!", []),
        ("What colour is the circle?", ["red"]),
        ("How many objects are there?", []),
        ("And what colour is it now?", ["blue"]),
        ("What is this?", ["green", "yellow"]),
    ]
    for text, colours in turns:
        files = [picture(colour) for colour in colours]
        ours, theirs = ask(here, text, *files), ask(there, text, *files)
        assert theirs.answer == ours.answer != ""
        assert theirs.stats["engine_prompt_tokens"] == ours.stats["prompt_tokens"]
        assert theirs.stats["answer_tokens"] == ours.stats["answer_tokens"]
        assert (theirs.finish, theirs.stats["notes"]) == ("eos", [])


def test_words_stream_and_stop_leaves_the_server_ready(remote):
    session, heard = ChatSession(remote), []
    for event in session.ask("Hello!", stopped=lambda: len(heard) >= 2):
        if isinstance(event, Step):
            heard.append(event.text)
    assert event.finish == "stopped" and session.turns[0].answer == "".join(heard)
    whole = ask(ChatSession(remote), "Hello!")
    assert whole.answer.startswith(session.turns[0].answer)
    assert len(whole.answer) > len(session.turns[0].answer)


def test_sampling_reaches_the_model(remote):
    def say(seed, **how):
        return ask(ChatSession(remote), "Hello!", sampling=Sampling(12, seed=seed, **how)).answer

    wild = [say(seed, temperature=3.0) for seed in (1, 2, 3)]
    assert len(set(wild)) > 1 and say(1, temperature=3.0) == wild[0]
    greedy = say(None)
    assert say(1, temperature=3.0, top_k=1) == greedy
    assert say(None, stop=(greedy[3:6],)) == greedy[: greedy.index(greedy[3:6])]
    assert say(None, repetition_penalty=50.0) != greedy


def test_what_it_cannot_do_is_said(served, remote):
    clip = HERE.parents[1] / "examples/moving_circle.mp4"
    with pytest.raises(InputError, match="takes no clips"):
        ask(ChatSession(remote), "Where?", clip)
    trace = ask(ChatSession(remote), "Hello!", sampling=Sampling(presence_penalty=0.5))
    assert trace.stats["notes"] == ["this engine does not take presence_penalty"]
    other = ChatSession(open_engine("someone/else", engine=served[0], config="tiny"))
    with pytest.raises(InputError, match=r"refused the request \(400\).*pinned"):
        ask(other, "Hello!")


def test_the_command_line(served, picture):
    url, name = served
    arguments = ["--engine", url, "--model", name, "--image", picture("red"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "vlm", "chat", *arguments, "What colour is the circle?"],
        cwd=HERE.parents[1], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer, last = done.stdout.splitlines()
    assert json.loads(last)["answer"] == answer == "red"
