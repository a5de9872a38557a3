"""The examples: their list is whole, their scripts run, and the embedded model answers them right."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ui.examples import FOLDER, read_examples
from vlm.chat.session import ChatSession, Engine
from vlm.families import open_checkpoint


@pytest.fixture(scope="module")
def engine():
    checkpoint = open_checkpoint("tiny", device="cpu")
    return Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name)


@pytest.mark.parametrize("entry", read_examples(), ids=lambda entry: entry.shows)
def test_the_embedded_model_answers_it_right(engine, entry):
    assert entry.poster.is_file()
    *_, trace = ChatSession(engine).ask(entry.question, entry.files)
    assert entry.answer in trace.answer.lower()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["ask.py", "shapes.png", "How many objects are there?"], "three"),
        (["look_inside.py", "moving_circle.mp4"], "video"),
        (["compare_families.py", "circle.png"], "qwen2.5-vl-7b  1 × 8 × 8 cells = 64 tokens"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_script_runs(command, words):
    name, file, *rest = command
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), str(FOLDER / file), *rest], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
