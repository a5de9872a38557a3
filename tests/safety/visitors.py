"""The clients of the soak, and what they do to the app."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from talk import Refused, Talk, file_data

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS = (
    ("What shape is it?", ("circle.png",)),
    ("What colour is it?", ("star.png",)),
    ("How many objects are there?", ("shapes.png",)),
    ("Which way does the circle move?", ("moving_circle.mp4",)),
    ("Hello", ()),
)


@dataclass
class Tally:
    """What came of the clients' deeds, together."""

    done: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    log: str = ""  # what the app printed

    def note(self, deed: str, wrong: str = "") -> None:
        with self.lock:
            self.done[deed] += 1
            if wrong:
                self.wrong.append(f"{deed}: {wrong}")


class Visitor(threading.Thread):
    """One client. ``expected`` are the greedy answers to `QUESTIONS`."""

    def __init__(self, address: str, seed: int, expected: dict[str, str], tally: Tally, end: float):
        super().__init__(name=f"visitor {seed}", daemon=True)
        self.address, self.expected, self.tally, self.end = address, expected, tally, end
        self.rng, self.talk = random.Random(seed), Talk(address)

    def run(self) -> None:
        deeds = (
            self.chat,
            self.chat,
            self.chat,
            self.go_on,
            self.stop,
            self.vanish,
            self.garbage,
            self.nonsense,
        )
        while time.monotonic() < self.end:
            deed = self.rng.choice(deeds)
            try:
                deed()
            except (httpx.TransportError, httpx.HTTPStatusError, Refused) as error:
                self.tally.note(deed.__name__, f"{type(error).__name__} {error}")
                self.talk = Talk(self.address)
            time.sleep(self.rng.uniform(0, 0.3))

    def question(self) -> tuple[str, list[str]]:
        text, names = self.rng.choice(QUESTIONS)
        return text, self.talk.upload(*(EXAMPLES / name for name in names)) if names else []

    def chat(self) -> None:
        text, files = self.question()
        self.check("chat", text, self.talk.ask(text, files, tokens=16))

    def go_on(self) -> None:
        """Two turns about one picture."""
        text, files = self.question()
        first = self.talk.ask(text, files, tokens=16)
        self.check("go_on", text, first)
        second = self.talk.ask("Hello", history=first["history_id"], tokens=16)
        kinds = [stats["statistics"]["prompt_tokens_by_kind"] for stats in (first, second)]
        same = all(kinds[0].get(kind, 0) == kinds[1].get(kind, 0) for kind in ("image", "video"))
        self.tally.note("second turn", "" if same else f"another's pictures: {kinds}")

    def stop(self) -> None:
        """Go away in the middle of an answer."""
        text, files = self.question()
        stream = self.talk.events("chat", text, [file_data(file) for file in files], "", 400, 0)
        next(stream)
        stream.close()
        self.tally.note("stop")

    def vanish(self) -> None:
        """Go away in the middle of an upload."""
        host, port = self.address.removeprefix("http://").strip("/").split(":")
        head = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        )
        with socket.create_connection((host, int(port))) as plug:
            plug.sendall(head.encode() + b"x" * self.rng.randrange(200_000))
        self.tally.note("vanish")

    def garbage(self) -> None:
        """A damaged picture or clip must be refused in words, or read."""
        name = self.rng.choice(("circle.png", "moving_circle.mp4"))
        data = bytearray((EXAMPLES / name).read_bytes())
        for _ in range(self.rng.randrange(1, 60)):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        try:
            self.talk.ask("What is it?", self.talk.upload((name, bytes(data))), tokens=4)
            self.tally.note("garbage read")
        except Refused as error:
            words = json.loads(str(error))["error"] or ""
            self.tally.note("garbage refused", "" if name in words else f"no words: {error}")

    def nonsense(self) -> None:
        """Calls that make no sense."""
        body = self.rng.choice(
            (
                b"{",
                b'{"data": 3}',
                b'{"data": [1, 2]}',
                b'{"data": ["x", [{"path": "/etc/passwd"}], "", 4, 0]}',
            )
        )
        answer = self.talk.http.post(
            "gradio_api/call/chat", content=body, headers={"content-type": "application/json"}
        )
        self.tally.note("nonsense", "" if answer.status_code < 500 else f"status {answer.status_code}")

    def check(self, deed: str, text: str, reply: dict) -> None:
        right = reply["answer"] == self.expected[text]
        self.tally.note(deed, "" if right else f"{text} {reply['answer']!r}, not {self.expected[text]!r}")
