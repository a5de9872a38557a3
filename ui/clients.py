"""What one client may ask and leave here: questions a minute, bytes on the disk."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path

MINUTE = 60.0
REMEMBERED = 10_000  # clients; the one that was not seen for longest is forgotten first


@dataclass(frozen=True)
class Allowance:
    """Limits for each client; 0 means none.

    ``requests`` and ``questions`` a minute; ``bytes`` of uploads that may lie here at once, each for
    ``keep_seconds``. Nobody may upload where less than ``free_bytes`` would be left on the disk.
    """

    questions: int = 0
    requests: int = 0
    bytes: int = 0
    keep_seconds: float = 86_400
    free_bytes: int = 512 * 2**20


def bytes_of(size: str) -> int:
    """``500mb``, ``2 GB`` or ``1000`` in bytes, in powers of 1000 as Gradio counts. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", size.strip().lower())
    if not found:
        raise ValueError(f"{size!r} is no size: give one such as 500mb")
    return int(float(found[1]) * 1000 ** " kmgt".index(found[2] or " "))


@dataclass
class _Client:
    asked: deque[float] = field(default_factory=deque)
    called: deque[float] = field(default_factory=deque)
    uploads: deque[tuple[float, int]] = field(default_factory=deque)


class Clients:
    """Keeps the accounts. Times are monotonic seconds."""

    def __init__(self, allowance: Allowance = Allowance(), folder: str | Path = "."):
        self.allowance, self.folder = allowance, Path(folder)
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._lock = threading.Lock()

    def wait_to_ask(self, client: str, question: bool) -> float:
        """Seconds until the client may send this request; 0 counts it as sent."""
        most = self.allowance
        with self._lock:
            account = self._account(client)
            waits = [_wait(account.called, most.requests)]
            waits += [_wait(account.asked, most.questions)] if question else []
            if max(waits) == 0:
                account.called.append(time.monotonic())
                if question:
                    account.asked.append(time.monotonic())
            return max(waits)

    def room_on_disk(self, size: int) -> bool:
        """Whether an upload of ``size`` bytes leaves enough free."""
        try:
            return shutil.disk_usage(self.folder).free - size >= self.allowance.free_bytes
        except OSError:  # the folder is made by the first upload
            return True

    def charge(self, client: str, size: int) -> bool:
        """Count uploaded bytes; False, and nothing is counted, where the client has no room for them."""
        if not self.allowance.bytes:
            return True
        now = time.monotonic()
        with self._lock:
            uploads = self._account(client).uploads
            while uploads and uploads[0][0] < now - self.allowance.keep_seconds:
                uploads.popleft()
            if sum(size for _, size in uploads) + size > self.allowance.bytes:
                return False
            if uploads and now - uploads[-1][0] < 1:  # one entry a second, however small the pieces
                size += uploads.pop()[1]
            uploads.append((now, size))
            return True

    def _account(self, client: str) -> _Client:
        account = self._clients.setdefault(client, _Client())
        self._clients.move_to_end(client)
        while len(self._clients) > REMEMBERED:
            self._clients.popitem(last=False)
        return account


def _wait(times: deque[float], most: int) -> float:
    """Seconds until one more is less than ``most`` in the last minute."""
    now = time.monotonic()
    while times and times[0] <= now - MINUTE:
        times.popleft()
    return times[0] + MINUTE - now if most and len(times) >= most else 0.0
