"""Work in a thread of its own that reports how far it is, as an iterator."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from vlm.chat.request import Stopped

Result = TypeVar("Result")
Report = Callable[[int, int], None]


def in_background(
    work: Callable[[Report], Result], stopped: Callable[[], bool]
) -> Generator[tuple[int, int], None, Result]:
    """Run ``work(report)`` and yield what it reports, (done, total), as it comes; returns its result.

    Raises:
        Stopped: at the work's next report after ``stopped`` was true, or after the iterator was closed.
    """
    reports: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
    closed = False

    def report(done: int, total: int) -> None:
        if closed or stopped():
            raise Stopped
        reports.put((done, total))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, report)
        future.add_done_callback(lambda _: reports.put(None))
        try:
            while (reached := reports.get()) is not None:
                yield reached
        finally:
            closed = True
        return future.result()
