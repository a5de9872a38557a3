"""The way to an OpenAI-compatible server: its streams, and its failures in words."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from vlm.chat.payload import Kind
from vlm.chat.request import Stopped
from vlm.records import InputError

CONNECT_SECONDS, PROBE_SECONDS = 10.0, 10.0
POLL_SECONDS = 0.05  # how soon a stop is noticed
LONGEST_QUOTE = 300  # characters of a server's own words


class EngineError(InputError):
    """The server at the other end cannot be used, or was lost."""


class Connection:
    """One server. Requests run in an event loop of their own thread, where they can be cut off at any time.

    Proxies and other settings of the environment are not used: engines are near.

    Args:
        url: where the API begins; it ends in ``/v1`` as a rule.
        timeout: seconds that the server may be silent.

    Raises:
        EngineError: no such address.
    """

    def __init__(self, url: str, model: str, api_key: str | None = None, timeout: float = 300.0):
        import openai  # slow to import, so only where an engine is far

        self.url, self.model, self.timeout = checked_url(url), model, timeout
        self._key = api_key
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="engine").start()
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        # A server may drop a kept connection while it is used again: each request has its own.
        self._http = openai.DefaultAsyncHttpxClient(trust_env=False, headers={"Connection": "close"})
        self._client = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=api_key or "none",  # the library asks for one; servers without keys ignore it
            max_retries=0,  # a person decides whether to try again
            timeout=openai.Timeout(timeout, connect=CONNECT_SECONDS),
            http_client=self._http,
        )

    def look(self) -> tuple[Kind, dict[str, int | None]]:
        """What kind of server answers, and the models that it names with their context lengths.

        Raises:
            EngineError: nothing answers there, or it wants another key.
        """
        found = self._start(_look(self._client, self._http, self.url))
        try:
            return found.result(CONNECT_SECONDS + 2 * PROBE_SECONDS)
        except Exception as error:
            found.cancel()
            raise EngineError(self._words(error)) from None

    def stream(self, body: dict, stopped: Callable[[], bool]) -> Iterator[Any]:
        """Chunks of a chat completion as they come.

        Raises:
            Stopped: the person stopped; the server is hung up on.
            EngineError: whatever else went wrong.
        """
        chunks: SimpleQueue = SimpleQueue()
        reading = self._start(_read(self._client, {**body, "model": self.model}, chunks))
        try:
            while not (reading.done() and chunks.empty()):
                if stopped():
                    raise Stopped
                try:
                    yield chunks.get(timeout=POLL_SECONDS)
                except Empty:
                    continue
            reading.result()
        except (GeneratorExit, Stopped):
            raise
        except (Exception, CancelledError) as error:
            raise EngineError(self._words(error)) from None  # the cause may hold the key
        finally:
            reading.cancel()

    def _start(self, work: Coroutine) -> Future:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _words(self, error: BaseException) -> str:
        text = _in_words(error, self)
        return text.replace(self._key, "…") if self._key else text


async def _read(client, body: dict, chunks: SimpleQueue) -> None:
    async with await client.chat.completions.create(**body) as stream:
        async for chunk in stream:
            chunks.put(chunk)


async def _look(client, http, url: str) -> tuple[Kind, dict[str, int | None]]:
    """vLLM and SGLang sign their list of models; `transformers serve` has a route like no other."""
    import openai

    try:
        page = await client.models.list(timeout=PROBE_SECONDS)
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise
    except openai.APIStatusError:
        page = None  # not every server has the list
    models = getattr(page, "data", None) or []
    owners = {model.owned_by for model in models}
    kind = next((kind for kind in ("vllm", "sglang") if kind in owners), None)
    if kind is None:
        routes = await http.get(f"{url.removesuffix('/v1')}/openapi.json", timeout=PROBE_SECONDS)
        kind = "transformers" if '"/load_model"' in routes.text else "other"
    return kind, {model.id: getattr(model, "max_model_len", None) for model in models}


def checked_url(url: str) -> str:
    """``url`` without a slash at its end.

    Raises:
        EngineError: not the address of an engine.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EngineError(f"{url!r} is not the address of an engine: write http://host:port/v1")
    if parts.username or parts.password:
        raise EngineError("the engine's address may hold no password: give the key with --api-key")
    return url.rstrip("/")


def _in_words(error: BaseException, to: Connection) -> str:
    """What went wrong and what to do about it."""
    import openai

    match error:
        case openai.APITimeoutError() | TimeoutError():
            return (
                f"The engine at {to.url} was silent for too long: see whether it is overloaded, or try again."
            )
        case openai.APIConnectionError():
            return f"No connection with an engine at {to.url}: see whether it runs, and check the address."
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return f"The engine at {to.url} wants another key: set OPENAI_API_KEY or give --api-key."
        case openai.NotFoundError():
            return (
                f"The engine at {to.url} has no model {to.model!r}, or no chat at this address "
                f"(it ends in /v1 as a rule){_quote(error)}"
            )
        case openai.RateLimitError():
            return f"The engine at {to.url} is busy: try again later{_quote(error)}"
        case openai.APIStatusError() if error.status_code < 500:
            return f"The engine at {to.url} refused the request ({error.status_code}){_quote(error)}"
        case openai.APIError():
            return f"The engine at {to.url} failed{_quote(error)}"
        case ValueError():  # JSON
            return f"What came from {to.url} is not the stream of a chat: check the address."
        case _:
            return f"The connection with the engine at {to.url} was lost ({type(error).__name__}): try again."


def _quote(error) -> str:
    """The server's own words, where it has any."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error")
    inner = inner.get("message") if isinstance(inner, dict) else inner
    said = inner or body.get("message") or body.get("detail") or (error.body and str(error.body)) or ""
    said = " ".join(str(said).split())
    return f": {said[:LONGEST_QUOTE]}" if said else "."
