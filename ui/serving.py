"""How the page is served, and what follows from whether strangers can reach it."""

from __future__ import annotations

from dataclasses import dataclass

from ui.clients import Allowance, bytes_of
from ui.guard import LOOPBACK


@dataclass(frozen=True)
class Serving:
    """The operator's choices.

    Where ``lock_model``, ``questions`` (a minute and client) and ``upload_quota`` (of each client) are None,
    `strangers` settles them: locked, 20 and 500 MB with strangers, else open and without limit (0).
    """

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = None
    queue_size: int = 32
    max_file_size: str = "100mb"
    mcp: bool = False
    allowed_hosts: tuple[str, ...] = ()  # names that may be asked for; none: any, or this machine's own
    lock_model: bool | None = None
    questions: int | None = None
    upload_quota: str | None = None
    keep_hours: float = 24.0  # uploads are deleted when they are that old
    grace: float = 30.0  # seconds that running answers get when the app is told to end

    @property
    def strangers(self) -> bool:
        """Whether people whom nobody asks for a password can reach the page."""
        return self.auth is None and (self.share or self.host not in LOOPBACK)

    @property
    def locked(self) -> bool:
        """Whether the model is the operator's to choose."""
        return self.strangers if self.lock_model is None else self.lock_model

    @property
    def allowance(self) -> Allowance:
        """What one client may do. Raises ValueError for a size that cannot be read."""
        questions = (20 if self.strangers else 0) if self.questions is None else self.questions
        quota = ("500mb" if self.strangers else "0") if self.upload_quota is None else self.upload_quota
        return Allowance(
            questions=questions,
            requests=20 * questions,  # sliders and panels ask too
            bytes=bytes_of(quota),
            keep_seconds=3600 * self.keep_hours,
        )
