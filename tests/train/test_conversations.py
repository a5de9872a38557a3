"""A person's own data: every form that is read, and what is said about a form that is not."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from vlm.records import InputError
from vlm.train.conversations import read_conversations
from vlm.train.pack import IGNORE
from vlm.train.sources import Files

QWEN = {
    "messages": [
        {"role": "user", "content": "<image>What is this?"},
        {"role": "assistant", "content": "A circle."},
        {"role": "user", "content": "And this? <image>"},
        {"role": "assistant", "content": "A star."},
    ],
    "images": ["a.png", "b.png"],
}
SHAREGPT = {
    "system": "Be short.",
    "conversations": [
        {"from": "human", "value": "What is this?"},
        {"from": "gpt", "value": "A circle."},
    ],
    "image": "a.png",
}
PARTS = {
    "messages": [
        {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A circle."}]},
    ]
}
TALK = {"messages": [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hello!"}]}
IMAGE = {"type": "image"}


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (160, 160), colour).save(tmp_path / name)
    return tmp_path


def written(folder, *records):
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder


def test_messages_with_marks(folder):
    (found,) = read_conversations(written(folder, QWEN) / "data.jsonl")
    users = [message["content"] for message in found.messages if message["role"] == "user"]
    assert users[0] == [IMAGE, {"type": "text", "text": "What is this?"}]
    assert users[1] == [{"type": "text", "text": "And this? "}, IMAGE]
    assert [file.name for file in found.files] == ["a.png", "b.png"]


def test_sharegpt_without_marks_shows_the_picture_first(folder):
    (found,) = read_conversations(written(folder, SHAREGPT))
    assert found.messages[0] == {"role": "system", "content": "Be short."}
    assert found.messages[1]["content"] == [IMAGE, {"type": "text", "text": "What is this?"}]
    assert found.messages[2] == {"role": "assistant", "content": "A circle."}


def test_content_parts_and_a_json_list(folder):
    (folder / "data.json").write_text(json.dumps([PARTS, TALK]))
    first, second = read_conversations(folder)
    assert first.messages[0]["content"] == [IMAGE, {"type": "text", "text": "What?"}]
    assert [file.name for file in first.files] == ["a.png"] and second.files == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": ["a.png"]}, "more <image> marks than files"),
        ({"images": ["a.png", "b.png", "a.png"]}, "more media are listed"),
        ({"images": ["a.png", "c.png"]}, "there is no file"),
        ({"messages": QWEN["messages"][:3], "images": ["a.png", "b.png"]}, "must end with an answer"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'tool' is not known"),
        ({"messages": [{"role": "user"}]}, "lacks 'value'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(folder, change, reason):
    written(folder, TALK, {**QWEN, **change})
    with pytest.raises(InputError, match=r"data\.jsonl, record 2") as error:
        read_conversations(folder)
    assert reason in str(error.value)


def test_an_empty_folder_and_broken_json_are_refused(folder):
    with pytest.raises(InputError, match="no conversations"):
        read_conversations(folder)
    (folder / "data.jsonl").write_text('{"messages": [')
    with pytest.raises(InputError, match="not valid JSON"):
        read_conversations(folder)


def test_targets_are_the_answers_of_every_turn(folder, tiny):
    source = Files(tiny, written(folder, QWEN, SHAREGPT, TALK), batch=3, seed=0)
    batch = source.batch(0, 1, 0.0)
    told = {tiny.tokenizer.decode(batch.targets[a.start : a.stop].tolist()) for a in batch.answers}
    assert told == {"A circle.", "A star.", "Hello!"}
    assert all(int(batch.targets[a.stop - 1]) in tiny.config.tokens.eos for a in batch.answers)
    assert int((batch.targets != IGNORE).sum()) == sum(a.stop - a.start for a in batch.answers)
    assert len(batch.grids) == 3


def test_an_epoch_holds_every_conversation_once_and_a_tenth_is_held_out(folder, tiny):
    talks = [
        {"messages": [{"role": "user", "content": f"Say {i}"}, {"role": "assistant", "content": str(i)}]}
        for i in range(30)
    ]
    source = Files(tiny, written(folder, *talks), batch=9, seed=0)
    told = []
    for number in range(6):
        batch = source.batch(number, 1, 0.0)
        told += [tiny.tokenizer.decode(batch.targets[a.start : a.stop].tolist()) for a in batch.answers]
    held = {"9", "19", "29"}
    everything = sorted(str(i) for i in range(30) if str(i) not in held)
    assert sorted(told[:27]) == sorted(told[27:]) == everything and told[:27] != told[27:]
    assert len(source.held) == 3
