"""A person's own data: conversations with media, in the forms that Qwen and LLaMA-Factory read.

A record is one JSON object, a line of a .jsonl file or an item of a .json list::

    {"messages": [{"role": "user", "content": "<image>What is this?"},
                  {"role": "assistant", "content": "A blim."}], "images": ["blim.png"]}

or the ShareGPT form with ``conversations``, ``from`` and ``value``. Each ``<image>`` and ``<video>`` stands
for the next file of ``images`` and ``videos`` (``image`` and ``video`` do too); where the text has none, the
media come first. Content may also be a list of parts, as Qwen's examples write it. Paths are relative to the
file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm.records import InputError

_ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "model": "assistant",
}  # fmt: skip
_MARK = re.compile("(<image>|<video>)")


@dataclass(frozen=True)
class Conversation:
    """Messages in the content-parts form, and the files that their image and video parts stand for."""

    messages: tuple[dict, ...]
    files: tuple[Path, ...]


def read_conversations(path: Path) -> list[Conversation]:
    """All conversations of a .jsonl or .json file, or of every such file of a folder.

    Raises:
        InputError: no such file, or a record that cannot be used; it says where and why.
    """
    files = sorted(path.glob("*.json*")) if path.is_dir() else [path]
    found = [conversation for file in files for conversation in _read_file(file)]
    if not found:
        raise InputError(f"{path}: no conversations here; give a .jsonl file, or a folder that holds one")
    return found


def _read_file(file: Path) -> Iterator[Conversation]:
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    text = file.read_text(encoding="utf-8")
    for number, record in _records(file, text):
        try:
            yield _conversation(record, file.parent)
        except (InputError, KeyError, TypeError, AttributeError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            raise InputError(f"{file.name}, record {number}: {reason}") from error


def _records(file: Path, text: str) -> Iterator[tuple[int, dict]]:
    try:
        if file.suffix == ".json":
            yield from enumerate(json.loads(text), start=1)
            return
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield number, json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{file.name} is not valid JSON: {error}") from error


def _conversation(record: dict, folder: Path) -> Conversation:
    turns = record["messages"] if "messages" in record else record["conversations"]
    queues = {
        "image": _listed(record, "images", "image"),
        "video": _listed(record, "videos", "video"),
    }
    messages, files = [], []
    if record.get("system"):
        messages.append({"role": "system", "content": record["system"]})
    marked = any(_MARK.search(text) for turn in turns if isinstance(text := _content(turn), str))
    for turn in turns:
        parts = list(_parts(_content(turn), queues, files))
        role = _role(turn)
        if role == "user" and not marked:
            parts = [*_rest(queues, files), *parts]
        messages.append({"role": role, "content": parts if role == "user" else _text(parts, role)})
    if any(queues.values()):
        raise InputError("more media are listed than <image> and <video> marks stand in the text")
    if not messages or messages[-1]["role"] != "assistant":
        raise InputError("a conversation must end with an answer of the assistant")
    return Conversation(tuple(messages), tuple(_found(folder / file) for file in files))


def _listed(record: dict, many: str, one: str) -> list[str]:
    listed = record.get(many) or record.get(one) or []
    return [listed] if isinstance(listed, str) else list(listed)


def _content(turn: dict):
    return turn["content"] if "content" in turn else turn["value"]


def _role(turn: dict) -> str:
    name = turn["role"] if "role" in turn else turn["from"]
    if name not in _ROLES:
        raise InputError(f"the role {name!r} is not known; known are {', '.join(_ROLES)}")
    return _ROLES[name]


def _parts(content, queues: dict[str, list[str]], files: list) -> Iterator[dict]:
    """Content as parts; the files of its media are appended to ``files``."""
    if not isinstance(content, str):
        for part in content:
            if part["type"] in queues:
                files.append(part[part["type"]])
                yield {"type": part["type"]}
            else:
                yield {"type": "text", "text": part["text"]}
        return
    for piece in filter(None, _MARK.split(content)):
        if _MARK.fullmatch(piece):
            kind = piece[1:-1]
            if not queues[kind]:
                raise InputError(f"there are more {piece} marks than files")
            files.append(queues[kind].pop(0))
            yield {"type": kind}
        else:
            yield {"type": "text", "text": piece}


def _rest(queues: dict[str, list[str]], files: list) -> Iterator[dict]:
    """All media that no mark places."""
    for kind, queue in queues.items():
        while queue:
            files.append(queue.pop(0))
            yield {"type": kind}


def _text(parts: list[dict], role: str) -> str:
    if any(part["type"] != "text" for part in parts):
        raise InputError(f"only a user can show pictures, but the {role} does")
    return "".join(part["text"] for part in parts)


def _found(file: Path) -> Path:
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    return file
