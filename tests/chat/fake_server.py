"""A small OpenAI-compatible server that follows a script, to see what is sent and to fail on purpose."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Script = Callable[["Reply"], None]


class Reply:
    """One answer to a chat request, in the script's hands."""

    def __init__(self, handler: BaseHTTPRequestHandler):
        self._handler = handler
        self._streaming = False

    def error(self, status: int, body: dict) -> None:
        content = json.dumps(body).encode()
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", "application/json")
        self._handler.send_header("Content-Length", str(len(content)))
        self._handler.end_headers()
        self._handler.wfile.write(content)

    def raw(self, text: str) -> None:
        """Bytes of the event stream as they are."""
        if not self._streaming:
            self._streaming = True
            self._handler.send_response(200)
            self._handler.send_header("Content-Type", "text/event-stream")
            self._handler.send_header("Transfer-Encoding", "chunked")
            self._handler.end_headers()
        data = text.encode()
        self._handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def chunk(self, content: str | None = None, finish: str | None = None, usage=None, **choice) -> None:
        delta = {"content": content} if content is not None else {}
        choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]
        body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices}
        self.raw(f"data: {json.dumps(body | ({'usage': usage} if usage else {}))}\n\n")

    def done(self) -> None:
        self.raw("data: [DONE]\n\n")
        self._handler.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Hang up in the middle of the stream."""
        self._handler.close_connection = True
        self._handler.connection.close()

    def until_hung_up(self, word: str | None) -> None:
        """Say ``word`` over and over, or keep silent, until the other side is gone."""
        self._handler.connection.settimeout(0.02)
        for number in range(1000):
            if word:
                self.chunk(f"{word}{number} ")
                time.sleep(0.02)
                continue
            try:
                if not self._handler.connection.recv(1):
                    raise BrokenPipeError
            except TimeoutError:
                continue


def words(*said: str, finish: str = "stop", usage: dict | None = None, **last) -> Script:
    """A whole answer, a chunk a word."""

    def script(reply: Reply) -> None:
        for word in said:
            reply.chunk(word)
        reply.chunk(finish=finish, **last)
        if usage:
            reply.chunk(usage=usage)
        reply.done()

    return script


class FakeServer:
    """Listens on this machine; ``script`` answers chats. Keeps every request and notes who hung up."""

    def __init__(self, owner: str = "vllm", names: tuple[str, ...] = ("m",), context: int | None = None):
        self.script: Script = words("Hello", ".")
        self.models = [
            {"id": name, "object": "model", "created": 0, "owned_by": owner, "max_model_len": context}
            for name in names
        ]
        self.bodies: list[dict] = []
        self.keys: list[str | None] = []
        self.hung_up = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(fake) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                reply = Reply(self)
                if self.path == "/v1/models":
                    reply.error(200, {"object": "list", "data": fake.models})
                else:
                    reply.error(404, {})

            def do_POST(self):
                fake.keys.append(self.headers.get("Authorization"))
                fake.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                try:
                    fake.script(Reply(self))
                except OSError:
                    fake.hung_up.set()
                    self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler
