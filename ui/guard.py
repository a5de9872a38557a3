"""What stands between the page and the network: refuses foreign pages and outgoing fetches."""

from __future__ import annotations

import json
import os
import re
from urllib.parse import unquote, urlsplit

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
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
# Gradio would fetch these addresses for whoever asks.
_LARGEST = 2**20  # bytes of a message that is no upload
_FETCHES = re.compile(r"/proxy=|/file=[^?]*:/", re.IGNORECASE)


class Guard:
    """ASGI middleware: 403 for foreign origins, unknown hosts and fetching paths; security headers.

    Args:
        host: the address the server listens on. On a loopback address only loopback names may be asked
            for, so that a foreign name that points here (DNS rebinding) gets nothing.
    """

    def __init__(self, app, host: str = "127.0.0.1"):
        self.app = app
        self.loopback = host in ("127.0.0.1", "localhost", "::1")
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
        elif reason := self._objection(scope):
            await _refuse(scope, send, reason)
        elif _is_message(scope):
            body = await _read(receive)
            if body is None or _names_remote_file(body):
                await _refuse(scope, send, "remote files are not fetched, and messages end at 1 MB")
            else:
                await self.app(scope, _replay(body, receive), self._with_headers(send))
        else:
            await self.app(scope, receive, self._with_headers(send))

    def _objection(self, scope) -> str | None:
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if self.loopback and re.sub(r":\d+$", "", host) not in _LOOPBACK:
            return "unknown host"
        # A foreign page cannot set X-Forwarded-Host without a preflight, and that carries its Origin alone.
        ours = {host, headers.get("x-forwarded-host")}
        if "origin" in headers and urlsplit(headers["origin"]).netloc not in ours:
            return "foreign origin"
        if _FETCHES.search(unquote(scope["path"])):
            return "remote files are not fetched"
        return None

    def _with_headers(self, send):
        async def wrapped(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.headers]}
            await send(message)

        return wrapped


def _is_message(scope) -> bool:
    """A call of the page's functions: a POST that is no upload."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return scope.get("method") == "POST" and not kind.lower().startswith(b"multipart/")


async def _read(receive) -> bytes | None:
    """The whole body, or None where it is too large or broken off."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request" or len(body) > _LARGEST:
            return None
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


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
    except ValueError:
        return False  # no JSON: Gradio will not read it either


def _has_address(value) -> bool:
    if isinstance(value, dict):
        path = value.get("path")
        return (isinstance(path, str) and "://" in path) or any(map(_has_address, value.values()))
    return isinstance(value, list) and any(map(_has_address, value))


async def _refuse(scope, send, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"refused: {reason}\n".encode()})
