"""A client of the running app that speaks plain HTTP, as an attacker would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx

WAIT = 60.0  # seconds


class Talk:
    """One client with its own connections. ``address`` ends in a slash."""

    def __init__(self, address: str, login: tuple[str, str] | None = None, timeout: float = WAIT):
        self.http = httpx.Client(base_url=address, timeout=timeout)
        if login:
            done = self.http.post("login", data={"username": login[0], "password": login[1]})
            done.raise_for_status()

    def upload(self, *files: Path | tuple[str, bytes]) -> list[str]:
        """The server's names of uploaded files."""
        answer = self.send_files(*files)
        answer.raise_for_status()
        return answer.json()

    def send_files(self, *files: Path | tuple[str, bytes]) -> httpx.Response:
        parts = [file if isinstance(file, tuple) else (file.name, file.read_bytes()) for file in files]
        return self.http.post("gradio_api/upload", files=[("files", part) for part in parts])

    def call(self, name: str, *data) -> httpx.Response:
        """Ask for a function by its name; the answer has the event's id."""
        return self.http.post(f"gradio_api/call/{name}", json={"data": list(data)})

    def events(self, name: str, *data) -> Iterator[tuple[str, object]]:
        """What a function streams: ("generating" | "complete" | "error" | "heartbeat", data)."""
        asked = self.call(name, *data)
        asked.raise_for_status()
        with self.http.stream("GET", f"gradio_api/call/{name}/{asked.json()['event_id']}") as stream:
            kind = ""
            for line in stream.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "data":
                    yield kind, json.loads(value)

    def ask(self, text: str, files: list[str] = (), history: str = "", tokens: int = 8) -> dict:
        """The last answer of /chat. Raises `Refused` with the words of an error."""
        return self._last("chat", text, [file_data(path) for path in files], history, tokens, 0)

    def inspect(self, files: list[str]) -> dict:
        return self._last("inspect", [file_data(path) for path in files], "tiny", "Describe this.")

    def _last(self, name: str, *data) -> dict:
        last = None
        for kind, value in self.events(name, *data):
            if kind == "error":
                raise Refused(json.dumps(value))
            last = value or last
        return last[0]


class Refused(Exception):
    """The app said no; the message is what it said."""


def file_data(path: str) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
