"""One model for all pages: loads it behind the page, runs turns, keeps what they left for the panels."""

from __future__ import annotations

import logging
import secrets
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from typing import TYPE_CHECKING
from weakref import WeakSet

from ui.service.elsewhere import Elsewhere, files_of
from ui.service.glass import Glass
from ui.service.records import (
    Choice,
    Cost,
    Failed,
    Finished,
    Loading,
    ModelFacts,
    Reading,
    Refused,
    Run,
    Said,
    TooMuch,
    Working,
)
from ui.service.running import Running
from ui.service.telling import Live, fetched_bytes, in_words, without_paths
from ui.state import Ask, Exchange, Settings, UserSession

if TYPE_CHECKING:
    from vlm.chat.session import AnyEngine
    from vlm.records import Trace

log = logging.getLogger("glassbox")
LOCKED = "The model of this page cannot be changed here."
MAX_RUNS = 256  # kept for all pages together; the oldest goes first
MAX_FILES = 32  # of one question
TICK = 0.2  # seconds between two looks at a model that is being loaded


class Service:
    """The loaded model, or the one on its way."""

    def __init__(
        self,
        engine: AnyEngine | None = None,
        choice: Choice = Choice(),
        reading: Reading = Reading(),
        locked: bool = False,
    ):
        self.engine, self.reading, self.locked = engine, reading, locked
        self._open_media = self._sandbox = None
        self.choice = choice  # of the model in use, or of the first one on its way
        self._loading = Loading("ready") if engine else Loading("loading", f"Loading {choice.model}: soon.")
        self._began, self._wanted = 0.0, choice.model
        self._facts: ModelFacts | None = None
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._elsewhere = Elsewhere(4 * MAX_RUNS)
        self._users: WeakSet[UserSession] = WeakSet()
        self.glass = Glass(self.run, lambda file: self.open_media(file))
        self._lock = threading.Lock()
        self._running = Running()

    # ---- the model ------------------------------------------------------------------------------
    def choose(self, choice: Choice) -> threading.Thread:
        """`load`, as a person on the page asks for it. Raises Refused where that is the operator's to do."""
        if self.locked:
            raise Refused(LOCKED)
        return self.load(choice)

    def load(self, choice: Choice) -> threading.Thread:
        """Begin to load a model; the one before stays in use until the new one answers.

        Raises:
            Refused: another model is being loaded.
        """
        with self._lock:
            if self._loading.state == "loading" and self._began:
                raise Refused(f"{self._loading.text} Wait for it.")
            self._began, self._wanted = time.monotonic(), choice.model
            self._say("loading", f"Loading {choice.model}: starting.")
        thread = threading.Thread(target=self._load, args=(choice,), name="load", daemon=True)
        thread.start()
        return thread

    def loading(self) -> Loading:
        """How far the model is, with the seconds it has taken so far and what came from the hub."""
        if self._loading.state != "loading" or not self._began:
            return self._loading
        text, size = self._loading.text, fetched_bytes(self._wanted)
        if size:
            text = f"{text.rstrip('.')}, {size / 2**30:.1f} GiB from the hub are here."
        return Loading("loading", text, time.monotonic() - self._began)

    def facts(self) -> ModelFacts | None:
        """What the page says about the model in use; None before the first one is there."""
        return self._facts

    def offers(self) -> list[dict]:
        """Every official size: name, family, parameters, bytes in bfloat16 and in 4 bits; smallest first."""
        from ui.service import backend

        return backend.catalogue()

    def _load(self, choice: Choice) -> None:
        try:
            self._say("loading", f"Loading {choice.model}: importing the engine.")
            from ui.service import backend

            self._say("loading", f"Loading {choice.model}: reading weights.")
            _ = self.open_media  # gets ready meanwhile
            engine = backend.open_engine(choice)
            self._facts = backend.facts(engine)
        except Exception as error:
            known = type(error).__name__ in ("InputError", "MediaError") or isinstance(error, OSError)
            log.log(
                logging.WARNING if known else logging.ERROR, "%s: %s", choice.model, error, exc_info=not known
            )
            words = str(error) if known else f"{type(error).__name__}: {error}"
            named = words.startswith(choice.model)
            self._say("failed", words if named else f"{choice.model} could not be loaded: {words}")
            return
        self.engine, self.choice = engine, choice
        self.glass.forget()
        for user in list(self._users):  # their caches belong to the model before
            if not user.busy:
                user.part()
        self._say("ready", f"{choice.model} is ready.")

    def _say(self, state: str, text: str) -> None:
        taken = time.monotonic() - self._began if self._began else 0.0
        self._loading = Loading(state, without_paths(text), taken)  # everybody reads this

    # ---- before a turn --------------------------------------------------------------------------
    def cost(self, user: UserSession, text: str, files: Items[str], settings: Settings) -> Cost | None:
        """What a question would cost; None while no model is there to ask."""
        if (engine := self.engine) is None:
            return None
        from ui.service import backend

        chat = user.chat if self._continues(user) else backend.ChatSession(engine, self.open_media)
        return backend.cost(chat, text, files, settings)

    @property
    def open_media(self) -> Callable:
        """How the files of strangers are opened: in processes of their own, where the system has them."""
        from ui.service import backend

        with self._lock:
            if self._open_media is None:
                self._sandbox = backend.reader(self.reading)
                self._open_media = self._sandbox.open if self._sandbox else backend.open_media
            return self._open_media

    def _continues(self, user: UserSession) -> bool:
        return user.chat is not None and user.chat.engine is self.engine

    def free_bytes(self) -> int:
        """Memory that a model could still take."""
        from ui.service import backend

        on_gpu = self._facts and self._facts.device.startswith("cuda")
        return backend.free_bytes(self._facts.device if on_gpu else "cpu")

    def inspect(self, files: Items[str], model: str, prompt: str) -> dict:
        """The report of ``python -m vlm inspect``.

        Raises:
            Refused: a file or model that cannot be used.
        """
        from ui.service import backend

        _check_count(files)
        known = backend.known_models()
        if model not in known and model != self.choice.model:  # else: any folder of the server
            raise Refused(f"no model {model!r} here: give one of {', '.join(known)}")
        try:
            return backend.inspect(files, model, prompt, self.open_media)
        except backend.InputError as error:
            raise Refused(without_paths(str(error))) from error

    # ---- a turn ---------------------------------------------------------------------------------
    def turn(self, user: UserSession, ask: Ask) -> Iterator[Working | Said | Finished]:
        """Run one turn of ``user``'s conversation; ``user.stop`` ends it early.

        When it is over, ``user.exchanges`` holds it, and no longer the ones that it replaced.

        Raises:
            Refused: nothing was run and the conversation is as before.
            Failed: an unexpected error, already logged; an answer that had begun is kept.
        """
        _check_count(ask.files)
        with self._running.turn(user):
            yield from self._wait(user)
            if not user.stop.is_set():
                yield from self._turn(user, ask)

    def _turn(self, user: UserSession, ask: Ask) -> Iterator[Working | Said | Finished]:
        from ui.service import backend

        chat, turn = self._conversation(user, ask, backend)
        live = Live()
        try:
            for event in backend.events(chat, ask, turn, user.stop.is_set):
                if isinstance(event, backend.Step):
                    yield live.said(event.text)
                elif isinstance(event, backend.Progress):
                    yield in_words(event)
                else:
                    yield self._finish(user, ask, event)
        except backend.BudgetError as error:
            raise TooMuch(error.plan.problem, error.plan.choices) from error
        except backend.InputError as error:
            raise Refused(without_paths(str(error))) from error
        except Exception as error:
            reference = secrets.token_hex(4)
            log.exception("turn failed, reference %s", reference)
            if live.text:
                broken = f"(broke off, reference {reference})"
                user.remember(Exchange(ask, live.text, broken, self.engine.name))
            raise Failed(reference, live.text) from error
        finally:
            user.align()

    def drain(self, seconds: float) -> bool:
        """See `Running.drain`."""
        return self._running.drain(seconds)

    def close(self) -> None:
        """End the processes that read files."""
        if self._sandbox:
            self._sandbox.close()

    def run(self, run_id: str) -> Run | None:
        """What an earlier turn left, or None where it is no longer kept."""
        return self._runs.get(run_id)

    def compare(
        self, user: UserSession, run_id: str, settings: Settings, choice: Choice | None
    ) -> Iterator[Working | dict]:
        """A turn of the conversation once more under other settings, see `ui.service.comparing`.

        Raises:
            Refused: with a sentence for the person.
        """
        from ui.service.comparing import compare

        if choice and self.locked:
            raise Refused(LOCKED)
        return compare(self, user.exchanges, run_id, settings, choice)

    def undo(self, user: UserSession) -> Exchange:
        """Take back the last exchange. Raises Refused where there is none."""
        if not user.exchanges:
            raise Refused("There is nothing to undo.")
        return user.undo()

    def _wait(self, user: UserSession) -> Iterator[Working]:
        """Until a model is there; a turn that was sent early is not lost."""
        while self.engine is None and not user.stop.is_set():
            if self._loading.state == "failed":
                raise Refused(self._loading.text)
            loading = self.loading()
            yield Working(f"{loading.text.rstrip('.')} ({loading.seconds:.0f} s)", False, stage="load")
            time.sleep(TICK)

    def _conversation(self, user: UserSession, ask: Ask, backend) -> tuple:
        """The chat to go on with, and the turn in it that is asked again, if it knows that turn."""
        self._users.add(user)
        if user.chat is None or user.chat.engine is not self.engine:
            user.part()
            user.chat = backend.ChatSession(self.engine, self.open_media)
        if ask.replaces is None:
            return user.chat, None
        if ask.replaces < user.first:  # it went to another model: this one is asked with nothing before
            user.chat = backend.ChatSession(self.engine, self.open_media)
            return user.chat, None
        return user.chat, ask.replaces - user.first

    def _finish(self, user: UserSession, ask: Ask, trace: Trace) -> Finished:
        run_id, stats = secrets.token_urlsafe(16), trace.stats
        others = self._elsewhere.rows(trace, ask, self.open_media)
        files = files_of(trace.sequence.media, [*(old.ask for old in user.exchanges[: ask.replaces]), ask])
        run = Run(run_id, trace, self._facts, others, weakref.ref(self.engine), files)
        self._runs[run_id] = run
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        user.remember(Exchange(ask, trace.answer, trace.finish, stats.get("model", ""), run_id, stats))
        return Finished(run)


def _check_count(files: Items[str]) -> None:
    if len(files) > MAX_FILES:
        raise Refused(f"{len(files)} files are too many for one question: give at most {MAX_FILES}.")
