"""Long days: clients chat, upload, stop, disconnect and send garbage; the app stays right and comes to rest.

python tests/safety/soak.py --minutes 30 --picture docs/soak.png
"""

from __future__ import annotations

import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer

sys.path[:0] = [str(Path(__file__).parents[1] / "browser"), str(Path(__file__).parents[2])]

from served import Address, running_app  # noqa: E402
from talk import Refused, Talk, file_data  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS = (
    ("What shape is it?", ("circle.png",)),
    ("What colour is it?", ("star.png",)),
    ("How many objects are there?", ("shapes.png",)),
    ("Which way does the circle move?", ("moving_circle.mp4",)),
    ("Hello", ()),
)
CLIENTS = 8
KEEP_HOURS = (
    30 / 3600
)  # uploads stay for half a minute, so that the disk can come to rest in the short run too
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


@dataclass
class Tally:
    """What came of the clients' deeds, together."""

    done: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, deed: str, wrong: str = "") -> None:
        with self.lock:
            self.done[deed] += 1
            if wrong:
                self.wrong.append(f"{deed}: {wrong}")


class Visitor(threading.Thread):
    """One client. ``expected`` are the greedy answers to `QUESTIONS`."""

    def __init__(self, address: str, seed: int, expected: dict[str, str], tally: Tally, end: float):
        super().__init__(name=f"visitor {seed}", daemon=True)
        self.address, self.expected, self.tally, self.end = address, expected, tally, end
        self.rng, self.talk = random.Random(seed), Talk(address)

    def run(self) -> None:
        deeds = (
            self.chat,
            self.chat,
            self.chat,
            self.go_on,
            self.stop,
            self.vanish,
            self.garbage,
            self.nonsense,
        )
        while time.monotonic() < self.end:
            deed = self.rng.choice(deeds)
            try:
                deed()
            except (httpx.TransportError, httpx.HTTPStatusError, Refused) as error:
                self.tally.note(deed.__name__, f"{type(error).__name__} {error}")
                self.talk = Talk(self.address)
            time.sleep(self.rng.uniform(0, 0.3))

    def question(self) -> tuple[str, list[str]]:
        text, names = self.rng.choice(QUESTIONS)
        return text, self.talk.upload(*(EXAMPLES / name for name in names)) if names else []

    def chat(self) -> None:
        text, files = self.question()
        self.check("chat", text, self.talk.ask(text, files, tokens=16))

    def go_on(self) -> None:
        """Two turns about one picture."""
        text, files = self.question()
        first = self.talk.ask(text, files, tokens=16)
        self.check("go_on", text, first)
        second = self.talk.ask("Hello", history=first["history_id"], tokens=16)
        kinds = [stats["statistics"]["prompt_tokens_by_kind"] for stats in (first, second)]
        same = all(kinds[0].get(kind, 0) == kinds[1].get(kind, 0) for kind in ("image", "video"))
        self.tally.note("second turn", "" if same else f"another's pictures: {kinds}")

    def stop(self) -> None:
        """Go away in the middle of an answer."""
        text, files = self.question()
        stream = self.talk.events("chat", text, [file_data(file) for file in files], "", 400, 0)
        next(stream)
        stream.close()
        self.tally.note("stop")

    def vanish(self) -> None:
        """Go away in the middle of an upload."""
        host, port = self.address.removeprefix("http://").strip("/").split(":")
        head = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        )
        with socket.create_connection((host, int(port))) as plug:
            plug.sendall(head.encode() + b"x" * self.rng.randrange(200_000))
        self.tally.note("vanish")

    def garbage(self) -> None:
        """A damaged picture or clip must be refused in words, or read."""
        name = self.rng.choice(("circle.png", "moving_circle.mp4"))
        data = bytearray((EXAMPLES / name).read_bytes())
        for _ in range(self.rng.randrange(1, 60)):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        try:
            self.talk.ask("What is it?", self.talk.upload((name, bytes(data))), tokens=4)
            self.tally.note("garbage read")
        except Refused as error:
            words = json.loads(str(error))["error"] or ""
            self.tally.note("garbage refused", "" if name in words else f"no words: {error}")

    def nonsense(self) -> None:
        """Calls that make no sense."""
        body = self.rng.choice(
            (
                b"{",
                b'{"data": 3}',
                b'{"data": [1, 2]}',
                b'{"data": ["x", [{"path": "/etc/passwd"}], "", 4, 0]}',
            )
        )
        answer = self.talk.http.post(
            "gradio_api/call/chat", content=body, headers={"content-type": "application/json"}
        )
        self.tally.note("nonsense", "" if answer.status_code < 500 else f"status {answer.status_code}")

    def check(self, deed: str, text: str, reply: dict) -> None:
        right = reply["answer"] == self.expected[text]
        self.tally.note(deed, "" if right else f"{text} {reply['answer']!r}, not {self.expected[text]!r}")


def soak(seconds: float, seed: int = 0) -> tuple[list[Point], Tally]:
    """Run the app and `CLIENTS` visitors for so long, and then wait until it rests."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder), *PROGRAM) as address:
        began = time.monotonic()
        expected = _expected(Talk(address))
        end = time.monotonic() + seconds
        visitors = [Visitor(address, seed * 1000 + n, expected, tally, end) for n in range(CLIENTS)]
        for visitor in visitors:
            visitor.start()
        points = list(_watch(address, Path(folder) / "cache", tally, began, end, max(1.0, seconds / 240)))
        for visitor in visitors:
            visitor.join(120)
            if visitor.is_alive():
                tally.wrong.append(f"{visitor.name} hangs")
        points.append(_rested(address, Path(folder) / "cache", tally, began))
        if _expected(Talk(address)) != expected:
            tally.wrong.append("the answers at the end are not those at the beginning")
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


def judge(points: list[Point], tally: Tally) -> list[str]:
    """What is not as it must be. The last point is the app at rest.

    Memory at rest may not lie above the first half's highest by more than a tenth. Threads and files at rest
    are what they were at the beginning, and what Gradio's pool of 40 threads may add.
    """
    half, rest = points[: len(points) // 2], points[-1]
    problems = list(tally.wrong)
    highest = max(point.memory for point in half)
    if rest.memory > 1.1 * highest:
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
    data: Annotated[Path | None, typer.Option(help="write the points to this JSON")] = None,
) -> None:
    """Soak the app; exit code 1 where something is not as it must be."""
    points, tally = soak(60 * minutes, seed)
    if data:
        data.write_text(json.dumps([asdict(point) for point in points]))
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
    sys.exit(bool(problems))


if __name__ == "__main__":
    typer.run(main)
