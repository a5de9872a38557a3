"""`Sandbox.open` stands in for `open_media`: the same records, made by a process with limits."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from vlm.config import PixelConfig
from vlm.inputs.clips import Progress
from vlm.inputs.media import Medium, local_file
from vlm.inputs.sampling import MediaOptions
from vlm.inputs.sandbox import wire
from vlm.inputs.sandbox.limits import Limits
from vlm.inputs.sandbox.processes import TICK, Ended, Reader, Server, Tick
from vlm.records import Frames, MediaError, Patches

log = logging.getLogger("glassbox")
AVAILABLE = sys.platform == "linux"
KEPT = 6  # files whose readers and headers are kept for the next question about them


class Sandbox:
    """Opens files in processes of their own. Linux only; may be used by many threads at once."""

    def __init__(self, limits: Limits = Limits()):
        self.limits = limits
        self._set_up()
        os.register_at_fork(after_in_child=self._set_up)  # a copy of this process has its own

    def _set_up(self) -> None:
        self._server = Server(self.limits)
        self._working = threading.BoundedSemaphore(self.limits.at_once)
        self._kept: OrderedDict[tuple, SandboxedMedium | MediaError] = OrderedDict()

    def start(self) -> None:
        """Start ahead of the first file."""
        self._server.start()

    def close(self) -> None:
        """End all processes; the next file starts them anew."""
        self._keep_only(0)
        self._server.close()

    def open(self, path: str | os.PathLike) -> SandboxedMedium:
        """As `open_media`. What came of it, a refusal too, is remembered while the file is unchanged.

        Raises:
            MediaError: the file cannot be used, or not within the limits.
        """
        path = local_file(path)
        key = _identity(path)
        kept = self._kept.get(key)
        if kept is None:
            try:
                kept = self._open(path)
            except MediaError as error:
                kept = error
            self._kept[key] = kept
            self._keep_only(KEPT)
        if isinstance(kept, MediaError):
            raise MediaError(path.name, kept.reason)
        return kept

    def _open(self, path: Path) -> SandboxedMedium:
        return self.work(
            None, path, {"do": "open"}, self.limits.open_seconds, lambda _: None,
            lambda reader, header, arrays: SandboxedMedium(
                **wire.unpack_medium(header, arrays, path), sandbox=self, readers=[reader]
            ),
        )  # fmt: skip

    def _keep_only(self, count: int) -> None:
        while len(self._kept) > count:
            with suppress(KeyError):  # another thread was faster
                oldest = self._kept.popitem(last=False)[1]
                if isinstance(oldest, SandboxedMedium):
                    oldest.readers.clear()

    def work(
        self,
        reader: Reader | None,
        path: Path,
        request: dict,
        seconds: float,
        tick: Tick,
        unpack: Callable[[Reader, dict, list[np.ndarray]], Medium | Patches],
    ) -> Medium | Patches:
        """Put a request about a file to its reader, or to a new one.

        Raises:
            MediaError: what the reader says against the file, or that it broke off.
        """
        while not self._working.acquire(timeout=TICK):
            tick(None)
        try:
            reader = reader if reader and reader.usable() else self._fork(path)
            request = request | {"path": str(path.absolute()), "cpu_seconds": self.limits.cpu_seconds}
            header, arrays = reader.ask(request, seconds, tick)
        except Ended as end:
            raise self._epitaph(path.name, reader, end.late, seconds) from None
        except BaseException:  # stopped
            if reader:
                reader.end()
            raise
        finally:
            self._working.release()
        self._heed(path.name, header)
        try:
            return unpack(reader, header, arrays)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise MediaError(path.name, "its reader gave no sense: it is damaged, save it anew") from error

    def _fork(self, path: Path) -> Reader:
        try:
            return self._server.fork()
        except OSError as error:
            raise MediaError(path.name, "no process could be started to read it: try again later") from error

    def _heed(self, name: str, header: dict) -> None:
        if header.get("memory"):
            raise MediaError(name, self._too_large())
        if "broke" in header:
            log.warning("%s could not be read: %s", name, header["broke"])
            raise MediaError(name, "it is damaged or of an unusual kind: save it as PNG, JPEG or MP4")
        if "error" in header:
            raise MediaError(name, str(header["error"])[:500])

    def _epitaph(self, name: str, reader: Reader, late: bool, seconds: float) -> MediaError:
        """Why a reader ended without an answer, in words."""
        reader.end(0.0 if late else 0.5)
        status = self._server.status(reader)
        log.warning("the reader of %s ended: %s", name, "time over" if late else f"status {status}")
        if late or status == -signal.SIGXCPU:
            return MediaError(
                name, f"reading it takes more than {seconds:.0f} seconds: shorten it or make it smaller"
            )
        if status == -signal.SIGKILL:  # not by us: the whole machine is short of memory
            return MediaError(name, self._too_large())
        return MediaError(name, "its decoder broke off: it is damaged or needs too much memory; save it anew")

    def _too_large(self) -> str:
        gib = self.limits.memory_bytes / 2**30
        return f"opening it takes more than {gib:.1f} GiB of memory: make it smaller"


@dataclass(frozen=True)
class SandboxedMedium(Medium):
    """A file that its own process reads. ``readers`` holds the one that opened it, while it is kept."""

    sandbox: Sandbox = field(kw_only=True, repr=False, compare=False)
    readers: list[Reader] = field(kw_only=True, repr=False, compare=False)

    def read(self, pixels: PixelConfig, options=MediaOptions(), progress=None) -> Frames:
        raise NotImplementedError("whole pictures stay in the sandbox: ask for their patches")

    def patches(
        self,
        pixels: PixelConfig,
        options: MediaOptions = MediaOptions(),
        progress: Progress | None = None,
    ) -> Patches:
        """As `Medium.patches`; ``progress`` is also called while nothing moves, so that a stop is obeyed."""
        reached = [0, len(self.plan(pixels, options).resized)]

        def tick(moved: list | None) -> None:
            if isinstance(moved, list) and moved and isinstance(moved[0], int):
                reached[0] = min(max(moved[0], 0), reached[1])
            if progress:
                progress(*reached)

        def unpack(reader: Reader, header: dict, arrays: list[np.ndarray]) -> Patches:
            self.readers[:] = [reader]
            return wire.unpack_patches(header, arrays, self.path)

        reader = self.readers.pop() if self.readers else None
        request = {"do": "patches", "pixels": asdict(pixels), "options": asdict(options)}
        return self.sandbox.work(reader, self.path, request, self.sandbox.limits.read_seconds, tick, unpack)


def _identity(path: Path) -> tuple:
    found = path.stat()
    return str(path.absolute()), found.st_ino, found.st_size, found.st_mtime_ns
