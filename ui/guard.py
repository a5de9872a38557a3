"""Between the page and the network: refuses foreign pages, outgoing fetches and too much of anything."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

from ui.clients import Clients

# Gradio's HTML templates are compiled in the browser, hence 'unsafe-eval'.
_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "frame-src": "'none'",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_LARGEST = 2**20  # bytes of a message that is no upload
# Gradio would fetch these addresses for whoever asks.
_FETCHES = re.compile(r"/proxy=|/file=[^?]*:/", re.IGNORECASE)
# What the page and the documented clients use. Gradio has more: monitoring, run history, deep links that
# write to the disk, recordings, an editor of the app's own code.
_OPEN = re.compile(
    r"/(|config/?|assets/.*|static/.*|theme\.css|favicon\.ico|manifest\.json|robots\.txt|pwa_icon.*|login/?|logout/?|"
    r"gradio_api/(info/?|config/?|openapi\.json|theme\.css|startup-events|app_id/?|user/?|login_check/?|login/?|logout/?|"
    r"heartbeat/[^/]+|queue/(join|data|status)|call/.*|run/.*|api/.*|cancel|reset/?|upload|upload_progress|"
    r"component_server/?|file=.*|mcp(/.*)?))",
    re.DOTALL,
)


class Guard:
    """ASGI middleware: refuses what is not the page's own, and adds security headers.

    Args:
        host: the address the server listens on. On a loopback address only loopback names may be asked
            for, so that a foreign name that points here (DNS rebinding) gets nothing.
        hosts: elsewhere, the only names that may be asked for; none: any.
        clients: their accounts.
        questions: ids and names of the functions that count as questions.
    """

    def __init__(
        self,
        app,
        host: str = "127.0.0.1",
        hosts: Collection[str] = (),
        clients: Clients | None = None,
        questions: Collection[int | str] = (),
    ):
        self.app = app
        self.hosts, self.loopback = frozenset(hosts), host in LOOPBACK
        self.clients, self.questions = clients or Clients(), frozenset(questions)
        ancestors = "'self' https://huggingface.co" if os.environ.get("SPACE_ID") else "'self'"
        policy = {**_POLICY, "frame-ancestors": ancestors}
        self.headers = [
            (b"content-security-policy", "; ".join(f"{k} {v}" for k, v in policy.items()).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
        ]

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        send = self._with_headers(send)
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        if refusal := self.objection(scope, headers):
            await _refuse(scope, send, *refusal)
        elif scope.get("method") != "POST":
            await self.app(scope, receive, send)
        elif _is_upload(scope):
            await self._upload(scope, headers, receive, send)
        else:
            await self._message(scope, receive, send)

    def objection(self, scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """(status, reason) against a request, from its path and headers alone."""
        path, host = unquote(scope["path"]), headers.get("host", "")
        # A foreign page cannot set X-Forwarded-Host without a preflight, and that carries its Origin alone.
        public = headers.get("x-forwarded-host") or host
        asked = _name(public if self.hosts else host)
        if (self.hosts or self.loopback) and asked not in self.hosts | LOOPBACK:
            return 403, "unknown host"
        if "origin" in headers and urlsplit(headers["origin"]).netloc not in {host, public}:
            return 403, "foreign origin"
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return 403, "foreign page"
        if _FETCHES.search(path):
            return 403, "remote files are not fetched"
        if not _OPEN.fullmatch(path):
            return 404, "there is nothing here"
        return None

    async def _message(self, scope, receive, send) -> None:
        """A call of the page's functions."""
        body = await _read(receive)
        if body is None:
            await _refuse(scope, send, 413, "messages end at 1 MB")
        elif _names_remote_file(body):
            await _refuse(scope, send, 403, "remote files are not fetched")
        elif wait := self.clients.wait_to_ask(_client(scope), self.is_question(scope["path"], body)):
            await _refuse(scope, send, 429, f"too many questions: wait {wait:.0f} seconds", wait)
        else:
            await self.app(scope, _replay(body, receive), send)

    def is_question(self, path: str, body: bytes) -> bool:
        """Whether a message makes the model or a reader of files work."""
        name = path.rstrip("/").rpartition("/")[2]
        if name in ("login", "mcp"):
            return name == "login" or b"tools/call" in body
        try:
            number = json.loads(body).get("fn_index")
        except (ValueError, AttributeError, RecursionError):
            number = None
        return (isinstance(number, int) and number in self.questions) or path.rstrip("/").rpartition("/")[
            2
        ] in self.questions

    async def _upload(self, scope, headers: dict[str, str], receive, send) -> None:
        client, declared = _client(scope), headers.get("content-length", "0")
        if wait := self.clients.wait_to_ask(client, False):
            await _refuse(scope, send, 429, f"too many uploads: wait {wait:.0f} seconds", wait)
            return
        if not self.clients.room_on_disk(int(declared) if declared.isdigit() else 0):
            await _refuse(scope, send, 507, "the server's disk is full: try again later")
            return

        async def counted():
            message = await receive()
            if not self.clients.charge(client, len(message.get("body", b""))):
                raise _NoRoom
            return message

        try:
            await self.app(scope, counted, send)
        except _NoRoom:
            most, hours = self.clients.allowance.bytes / 10**6, self.clients.allowance.keep_seconds / 3600
            words = f"your uploads would be more than {most:,g} MB; each is deleted after {hours:g} h"
            await _refuse(scope, send, 413, words)

    def _with_headers(self, send):
        async def wrapped(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.headers]}
            await send(message)

        return wrapped


class _NoRoom(Exception):
    """A client's share of the disk is used up."""


def _client(scope) -> str:
    return (scope.get("client") or ("",))[0]


def _name(host: str) -> str:
    """A host without its port."""
    return re.sub(r":\d+$", "", host).strip("[]").lower()


async def _read(receive) -> bytes | None:
    """The whole body, or None where it is too large or broken off."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if message["type"] != "http.request" or _too_long(body):
            return None
    return body


def _too_long(body: bytes) -> bool:
    return len(body) > _LARGEST


def _replay(body: bytes, receive):
    """A ``receive`` that gives the body once more, and then what the real one gives."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return pending.pop() if pending else await receive()

    return again


def _names_remote_file(body: bytes) -> bool:
    """Whether a file in the message is an address: Gradio would download it, whatever its size."""
    try:
        return _has_address(json.loads(body))
    except RecursionError:
        return True
    except ValueError:
        return False  # no JSON: Gradio will not read it either


def _has_address(value) -> bool:
    if isinstance(value, dict):
        path = value.get("path")
        return (isinstance(path, str) and "://" in path) or any(map(_has_address, value.values()))
    return isinstance(value, list) and any(map(_has_address, value))


async def _refuse(scope, send, status: int, reason: str, wait: float = 0.0) -> None:
    """Words in JSON, as Gradio's clients read them; plain for uploads, where the page shows what it gets."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    plain, words = _is_upload(scope), f"Refused: {reason}."
    headers = [(b"content-type", b"text/plain; charset=utf-8" if plain else b"application/json")]
    headers += [(b"retry-after", str(int(wait) + 1).encode())] if wait else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    body = words if plain else json.dumps({"detail": words})
    await send({"type": "http.response.body", "body": body.encode()})


def _is_upload(scope) -> bool:
    return scope["path"].rstrip("/").endswith("/upload")
