"""The examples: their list is whole, their scripts run, and the embedded model answers them right."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ui.examples import FOLDER, offered, read_examples
from vlm.chat.session import ChatSession, Engine
from vlm.families import open_checkpoint


@pytest.fixture(scope="module")
def engine():
    checkpoint = open_checkpoint("tiny", device="cpu")
    return Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name)


def test_six_kinds_are_offered_and_by_the_embedded_model_those_that_it_answers_right():
    every = offered(read_examples(), embedded=False)
    assert [entry.shows for entry in every] == [
        "a scene", "a count", "a position", "text", "two pictures", "motion",
    ]  # fmt: skip
    assert all(file.is_file() for entry in every for file in (*entry.files, entry.poster))
    own = offered(read_examples(), embedded=True)
    assert len(own) == 6 and all(entry.embedded for entry in own)


@pytest.mark.parametrize("entry", offered(read_examples(), embedded=True), ids=lambda entry: entry.shows)
def test_the_embedded_model_answers_it_right(engine, entry):
    *_, trace = ChatSession(engine).ask(entry.question, entry.files)
    assert entry.answer in trace.answer.lower()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["ask.py", "shapes.png", "How many objects are there?"], "three"),
        (["look_inside.py", "moving_circle.mp4"], "video"),
        (["where_it_looks.py", "circle.png", "What colour is the circle?"], "1 pictures and looks.npz"),
        (["boxes.py", "shapes.png", "Give the bounding box of the heart."], "box  ["),
        (["compare_settings.py", "shapes.png", "How many objects are there?"], "sides.png, sides.csv and"),
        (["anatomy.py", "shapes.png"], "Where patch (6, 6) looks: patch.png"),
        (["compare_families.py", "circle.png"], "qwen2.5-vl-7b  1 × 8 × 8 cells = 64 tokens"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_script_runs(command, words, tmp_path):
    name, file, *rest = command
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), str(FOLDER / file), *rest],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
