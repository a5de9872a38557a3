"""The sandbox's processes as the program sees them: one server that forks, and a reader for each file."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

import vlm
from vlm.inputs.sandbox import wire
from vlm.inputs.sandbox.limits import Limits

log = logging.getLogger("glassbox")
TICK = 0.1  # seconds between two looks at whether somebody pressed stop
STALLED = 10.0  # seconds that may pass inside one message
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")  # of the environment
Tick = Callable[[list | None], None]


class Ended(Exception):
    """A reader ended without an answer; ``late`` if its time was over."""

    def __init__(self, late: bool):
        self.late = late


class Reader:
    """The process that reads one file. It ends when this is let go."""

    def __init__(self, channel: socket.socket, pid: int):
        self.pid, self._channel = pid, channel
        self._handle = os.pidfd_open(pid)  # unlike the number, it never comes to mean another process
        self._finalizer = weakref.finalize(self, _close, channel, self._handle)

    def usable(self) -> bool:
        """Whether it still waits for requests."""
        return self._finalizer.alive and not select.select([self._handle], [], [], 0)[0]

    def ask(self, request: dict, seconds: float, tick: Tick) -> tuple[dict, list[np.ndarray]]:
        """The answer to a request.

        Args:
            tick: called with what the reader reports, and every `TICK` with None; it may raise.

        Raises:
            Ended: it broke off, or took longer than ``seconds``.
        """
        deadline = time.monotonic() + seconds
        self._exchange(lambda: wire.send(self._channel, request))
        while True:
            header, arrays = self._hear(deadline)
            if "progress" not in header:
                return header, arrays
            tick(header["progress"])

    def _hear(self, deadline: float) -> tuple[dict, list[np.ndarray]]:
        """The next message; one of no progress where none came within a `TICK`."""
        if select.select([self._channel], [], [], TICK)[0]:
            return self._exchange(lambda: wire.receive(self._channel))
        if time.monotonic() > deadline:
            raise Ended(late=True)
        return {"progress": None}, []

    def _exchange(self, step: Callable):
        try:
            self._channel.settimeout(STALLED)
            return step()
        except TimeoutError:
            raise Ended(late=True) from None
        except (OSError, EOFError, ValueError, KeyError, TypeError):  # gone, or it lost our language
            raise Ended(late=False) from None

    def end(self, patience: float = 0.0) -> None:
        """Kill it, whatever it does; give it so many seconds to end by itself, which tells why it did."""
        select.select([self._handle], [], [], patience)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        self._finalizer()


def _close(channel: socket.socket, handle: int) -> None:
    channel.close()
    os.close(handle)


class Server:
    """The process that forks readers, started when it is first needed and again after it died."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Ahead of the first file: it imports for some two seconds."""
        with self._lock:
            self._start()

    def fork(self) -> Reader:
        """A new reader. Raises OSError where no process can be had."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader = Reader(ours, int(self._command(b"fork", theirs.fileno())))
        wire.send(ours, {"memory_bytes": self.limits.memory_bytes, "idle_seconds": self.limits.idle_seconds})
        return reader

    def status(self, reader: Reader) -> int:
        """How a reader ended: its exit code, or minus the signal."""
        try:
            return int(self._command(str(reader.pid).encode()))
        except OSError:
            return 0

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _command(self, message: bytes, *fds: int) -> bytes:
        with self._lock:
            for _ in range(2):
                self._start()
                with suppress(OSError):
                    socket.send_fds(self._control, [message], fds)
                    if reply := self._control.recv(64):
                        return reply
                log.warning("the sandbox's server has ended")
                self._stop()
        raise OSError("the sandbox cannot be started")

    def _start(self) -> None:
        if self._process and self._process.poll() is None:
            return
        self._stop()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(60)  # importing on a busy machine
        command = [sys.executable, "-m", "vlm.inputs.sandbox.server", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=_environment(), stdin=subprocess.DEVNULL
            )

    def _stop(self) -> None:
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None


def _environment() -> dict[str, str]:
    """No keys and passwords, no GPU, and one thread until a reader wants more."""
    root = str(Path(vlm.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | settings | {"PYTHONPATH": path}
