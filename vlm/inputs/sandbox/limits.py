"""What reading one file may take."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on one reader; ``at_once`` bounds how many work at the same time.

    ``cpu_seconds`` counts all threads together, for each request; a reader that is asked nothing ends after
    ``idle_seconds``.
    """

    memory_bytes: int = 2 * 2**30
    open_seconds: float = 20
    read_seconds: float = 120
    cpu_seconds: int = 240
    idle_seconds: int = 30
    at_once: int = max(2, os.cpu_count() or 1)

    def __post_init__(self):
        if self.memory_bytes < 64 * 2**20 or min(self.open_seconds, self.read_seconds, self.cpu_seconds) <= 0:
            raise ValueError("a reader needs some seconds, and at least 64 MiB of memory")
