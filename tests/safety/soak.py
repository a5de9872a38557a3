"""Long days: clients chat, upload, stop, disconnect and send garbage; the app stays right and comes to rest.

python tests/safety/soak.py --minutes 30 --picture docs/soak.png
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer

sys.path[:0] = [str(Path(__file__).parents[1] / "browser"), str(Path(__file__).parents[2])]

from served import Address, running_app  # noqa: E402
from talk import Talk  # noqa: E402
from visitors import EXAMPLES, QUESTIONS, Tally, Visitor  # noqa: E402

CLIENTS = 8
KEEP_HOURS = 30 / 3600  # half a minute, so that the disk can come to rest in the short run too
PROGRAM = (
    "app.py", "--model", "tiny", "--device", "cpu", "--queue-size", "64", "--keep-hours", str(KEEP_HOURS),
    "--media-seconds", "20", "--media-memory", "512mb",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """The app at one moment. Bytes, and counts."""

    seconds: float
    memory: int  # of the app's own process
    children_memory: int  # what its children do not share
    children: int
    threads: int
    files: int
    disk: int
    answers: int


def soak(seconds: float, seed: int = 0, seen: Callable[[Point], object] = bool) -> tuple[list[Point], Tally]:
    """Run the app and `CLIENTS` visitors for so long, then wait for its rest. ``seen`` gets each point."""
    tally, points = Tally(), []
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder), *PROGRAM) as address:
        began = time.monotonic()
        expected = _expected(Talk(address))
        end = time.monotonic() + seconds
        visitors = [Visitor(address, seed * 1000 + n, expected, tally, end) for n in range(CLIENTS)]
        for visitor in visitors:
            visitor.start()
        for point in _watch(address, Path(folder) / "cache", tally, began, end, max(1.0, seconds / 240)):
            points.append(point)
            seen(point)
        for visitor in visitors:
            visitor.join(120)
            if visitor.is_alive():
                tally.wrong.append(f"{visitor.name} hangs")
        points.append(_rested(address, Path(folder) / "cache", tally, began))
        if _expected(Talk(address)) != expected:
            tally.wrong.append("the answers at the end are not those at the beginning")
        tally.log = (Path(folder) / "app.log").read_text()
    return points, tally


def _expected(talk: Talk) -> dict[str, str]:
    """Each question asked alone in a new chat."""
    return {
        text: talk.ask(text, talk.upload(*(EXAMPLES / name for name in names)) if names else [], tokens=16)[
            "answer"
        ]
        for text, names in QUESTIONS
    }


def _watch(
    address: Address, cache: Path, tally: Tally, began: float, end: float, every: float
) -> Iterator[Point]:
    while time.monotonic() < end:
        time.sleep(every)
        yield _point(address, cache, tally, began)


def _rested(address: Address, cache: Path, tally: Tally, began: float) -> Point:
    """Once the readers of the last files have ended and the uploads were deleted."""
    deadline = time.monotonic() + 100
    while True:
        point = _point(address, cache, tally, began)
        if (point.children <= 2 and point.disk < 2**20) or time.monotonic() > deadline:
            return point
        time.sleep(1)


def _point(address: Address, cache: Path, tally: Tally, began: float) -> Point:
    app = psutil.Process(address.process.pid)
    children = app.children(recursive=True)
    sizes = [size for path in cache.rglob("*") if (size := _size(path))]
    return Point(
        time.monotonic() - began, app.memory_info().rss, sum(map(_own_memory, children)), len(children),
        app.num_threads(), app.num_fds(), sum(sizes), tally.done.total(),
    )  # fmt: skip


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _own_memory(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().uss
    except psutil.Error:
        return 0


# Seconds until the chats' caches, the turns kept for the panels and PyTorch's kernels are there.
FILLING = 600


def judge(points: list[Point], tally: Tally) -> list[str]:
    """What is not as it must be. The last point is the app at rest.

    Memory at rest may not lie above the first half's highest by more than a tenth, once there was time for
    everything that has a bound to fill. Threads and files at rest are what they were at the beginning, and
    what Gradio's pool of 40 threads may add.
    """
    half, rest = points[: len(points) // 2], points[-1]
    problems = list(tally.wrong)
    highest = max(point.memory for point in half)
    if rest.seconds > FILLING and rest.memory > 1.1 * highest:
        problems.append(
            f"memory grew: {rest.memory / 2**20:.0f} MiB at rest, {highest / 2**20:.0f} in the first half"
        )
    if rest.children > 2:
        problems.append(f"{rest.children} children are left; the sandbox's server and one reader should be")
    if rest.threads > points[0].threads + 40:
        problems.append(f"threads grew from {points[0].threads} to {rest.threads}")
    if rest.files > points[0].files + 40:
        problems.append(f"open files grew from {points[0].files} to {rest.files}")
    if rest.disk > 2**20:
        problems.append(f"{rest.disk:,} bytes are left on the disk")
    return problems


def draw(points: list[Point], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6), sharex=True, layout="constrained")
    minutes = [point.seconds / 60 for point in points]
    curves: dict[str, dict[str, Callable[[Point], float]]] = {
        "Memory, MiB": {
            "app": lambda point: point.memory / 2**20,
            "readers of files": lambda point: point.children_memory / 2**20,
        },
        "Processes, threads, open files": {
            "child processes": lambda point: point.children,
            "threads": lambda point: point.threads,
            "open files": lambda point: point.files,
        },
        "Uploads on the disk, MB": {"": lambda point: point.disk / 10**6},
        "Deeds of all clients": {"": lambda point: point.answers},
    }
    for axis, (title, lines) in zip(axes.flat, curves.items(), strict=True):
        for label, value in lines.items():
            axis.plot(minutes, [value(point) for point in points], label=label)
        axis.set(title=title, ylim=(0, None))
        if len(lines) > 1:
            axis.legend()
    for axis in axes[1]:
        axis.set_xlabel("minutes")
    figure.savefig(picture, dpi=110)


def main(
    minutes: Annotated[float, typer.Option(help="how long")] = 30,
    seed: int = 0,
    picture: Annotated[Path | None, typer.Option(help="write the curves to this PNG")] = None,
    data: Annotated[Path | None, typer.Option(help="write each point as a line of JSON")] = None,
) -> None:
    """Soak the app; exit code 1 where something is not as it must be."""
    with data.open("w") if data else nullcontext() as file:
        write = (lambda point: print(json.dumps(asdict(point)), file=file, flush=True)) if file else bool
        points, tally = soak(60 * minutes, seed, write)
    if picture:
        draw(points, picture)
    typer.echo("\n".join(f"{deed:>16} {count:>7,}" for deed, count in tally.done.most_common()))
    moments = {"first": points[0], "middle": points[len(points) // 2], "at rest": points[-1]}
    for label, point in moments.items():
        typer.echo(
            f"{label:>8}: {point.memory / 2**20:.0f} MiB, {point.children} children, "
            f"{point.threads} threads, {point.files} open files, {point.disk / 10**6:.1f} MB of uploads"
        )
    problems = judge(points, tally)
    typer.echo("\n".join(problems[:40]) or "nothing wrong")
    if problems:
        typer.echo(f"\nThe end of the app's log:\n{tally.log[-20_000:]}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    typer.run(main)
