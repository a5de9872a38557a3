"""The guard refuses what a foreign page could ask for and lets the page itself through."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from ui.guard import Guard


def ask(
    path: str = "/", listens: str = "127.0.0.1", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer at a guard that ``listens`` there; with ``body`` to a POST."""
    sent = []
    pieces = [
        {"type": "http.request", "body": (body or b"")[i : i + 10], "more_body": True}
        for i in range(0, len(body or b""), 10)
    ]
    pieces.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return pieces.pop(0)

    async def app(scope, receive, send):
        assert body is None or (await receive())["body"] == body
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    asked = {"host": "127.0.0.1:7860", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in asked.items()]
    scope = {"type": "http", "path": path, "headers": raw, "method": "GET" if body is None else "POST"}
    # In a thread of its own: while a browser is open, playwright keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, Guard(app, listens)(scope, receive, send)).result()
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_the_page_itself_passes_with_a_strict_policy():
    status, headers = ask(origin="http://127.0.0.1:7860")
    assert status == 200
    assert "img-src 'self' data: blob:" in headers["content-security-policy"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
def test_foreign_origins_are_refused(origin):
    assert ask(origin=origin)[0] == 403


def test_a_foreign_name_for_this_machine_is_refused():
    assert ask(host="rebound.example:7860")[0] == 403
    assert ask(host="localhost:7860")[0] == 200
    assert ask(host="chat.example", listens="0.0.0.0")[0] == 200


def test_behind_a_proxy_the_public_host_counts():
    assert ask(listens="0.0.0.0", origin="https://chat.example", x_forwarded_host="chat.example")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=https://evil.example/x",
        "/gradio_api/file=https://evil.example/x.png",
        "/gradio_api/file=http:/evil.example/x.png",
        "/gradio_api/file=HTTPS%3A//evil.example/x.png",
    ],
)
def test_nothing_is_fetched_for_others(path):
    assert ask(path)[0] == 403


def test_own_files_pass():
    assert ask("/gradio_api/file=/tmp/gradio/abc/circle.png")[0] == 200


@pytest.mark.parametrize(
    "path", ["https://evil.example/x.png", "ftp://evil.example/x", "\\u0068ttp://evil.example"]
)
def test_messages_cannot_name_remote_files(path):
    body = f'{{"data": [{{"text": "hi", "files": [{{"path": "{path}"}}]}}]}}'
    assert ask("/gradio_api/queue/join", body=body.encode())[0] == 403


def test_messages_with_own_files_arrive_whole():
    body = b'{"data": [{"text": "see https://example.org", "files": [{"path": "/tmp/a.png", "url": "http://x/a"}]}]}'
    assert ask("/gradio_api/queue/join", body=body)[0] == 200


def test_endless_messages_are_refused():
    assert ask("/gradio_api/queue/join", body=b"x" * (2**20 + 100))[0] == 413
