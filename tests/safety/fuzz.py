"""Damaged files of every format we accept, through the real upload path: each is read, or refused in words.

python tests/safety/fuzz.py --images 2000 --videos 500
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("browser", "inputs")]
sys.path.insert(0, str(Path(__file__).parents[2]))

from seeds import seeds_of_clips, seeds_of_pictures  # noqa: E402
from served import Address, running_app  # noqa: E402
from talk import Refused, Talk  # noqa: E402

LIMIT = 20  # seconds that reading one file may take
SLACK = 20  # seconds on top for the way there and back on a busy machine
MEMORY = 512 * 2**20  # of one reader
PROGRAM = (
    "app.py", "--model", "tiny", "--device", "cpu", "--keep-hours", str(60 / 3600), "--queue-size", "64",
    "--media-seconds", str(LIMIT), "--media-memory", "512mb",
)  # fmt: skip


@dataclass
class Figures:
    """What came of all files."""

    outcomes: Counter = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    app_peak: int = 0
    reader_peak: int = 0


def flip_bits(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    for _ in range(rng.choice((1, 4, 16, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def truncate(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    return data[: rng.randrange(1, len(data))]


def edit_header(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    """Sizes, counts and offsets stand near the beginning, and near the end of some MP4s."""
    reach = min(len(data) - 8, rng.choice((32, 128, 600)))
    at = rng.randrange(max(1, reach)) if rng.random() < 0.8 else len(data) - 8 - rng.randrange(max(1, reach))
    value = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFF, rng.getrandbits(32)))
    size = rng.choice((1, 2, 4))
    data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, rng.choice(("big", "little")))
    return data


def move_pieces(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    """Leave out, repeat, or bring in a piece of another file."""
    start = rng.randrange(len(data))
    stop = start + rng.randrange(1, 400)
    piece = rng.choice((b"", bytes(data[start:stop]) * rng.choice((2, 50)), other[start:stop]))
    data[start:stop] = piece
    return data


MUTATIONS = (flip_bits, truncate, edit_header, move_pieces)


def mutants(seeds: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(name, mutation, damaged file); every seed and mutation comes round in turn."""
    rng, names = random.Random(seed), list(seeds)
    for number in range(count):
        name, mutation = names[number % len(names)], MUTATIONS[number // len(names) % len(MUTATIONS)]
        data = mutation(bytearray(seeds[name]), rng, seeds[rng.choice(names)])
        yield f"{number}-{name}", mutation.__name__, bytes(data)


class Fuzz:
    """Gives files to the running app and keeps the figures."""

    def __init__(self, address: Address, cookies: httpx.Cookies | None = None):
        self.address, self.cookies, self.figures = address, cookies, Figures()
        self._local, self._lock, self._over = threading.local(), threading.Lock(), threading.Event()

    def run(self, files: Iterator[tuple[str, str, bytes]], workers: int) -> Figures:
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(self._give, files):
                pass
        self._over.set()
        watcher.join()
        return self.figures

    def _give(self, file: tuple[str, str, bytes]) -> None:
        name, mutation, data = file
        start, problem = time.monotonic(), ""
        try:
            self._talk().inspect(self._talk().upload((name, data)))
            outcome = "read"
        except Refused as error:
            words = json.loads(str(error)).get("error") or ""
            outcome = re.sub(r"[\d.,]+", "N", words.partition(": ")[2])[:70] or "no words"
            if name not in words or "/" in words.replace("and/or", ""):
                problem = f"unclear refusal {words!r}"
        except (httpx.HTTPError, OSError) as error:
            outcome, problem = "lost", f"{type(error).__name__}: {error}"
            self._local.talk = None
        seconds = time.monotonic() - start
        if seconds > LIMIT + SLACK:
            problem = f"took {seconds:.0f} s"
        with self._lock:
            figures = self.figures
            figures.outcomes[outcome] += 1
            figures.slowest = max(figures.slowest, (seconds, f"{name} ({mutation})"))
            if problem:
                figures.problems.append(f"{name} ({mutation}): {problem}")

    def _talk(self) -> Talk:
        if getattr(self._local, "talk", None) is None:
            self._local.talk = Talk(self.address, timeout=LIMIT + 3 * SLACK)
            self._local.talk.http.cookies.update(self.cookies)
        return self._local.talk

    def _watch(self) -> None:
        app = psutil.Process(self.address.process.pid)
        while not self._over.wait(1.0):  # reading a process's own memory costs time
            try:
                self.figures.app_peak = max(self.figures.app_peak, app.memory_info().rss)
                own = [child.memory_full_info().uss for child in app.children(recursive=True)]
                self.figures.reader_peak = max([self.figures.reader_peak, *own])
            except psutil.Error:
                continue


def fuzz(images: int, videos: int, seed: int, workers: int = 4) -> tuple[dict[str, Figures], str, int, int]:
    """Figures of images and of videos, the app's log, and the app's memory before and at the end."""
    kinds: dict[str, tuple[Callable[[], dict[str, bytes]], int]] = {
        "images": (seeds_of_pictures, images), "videos": (seeds_of_clips, videos),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder), *PROGRAM) as address:
        talk = Talk(address)
        talk.ask("Hello")  # the model is there now
        whole = {kind: make() for kind, (make, _) in kinds.items()}
        for seeds in whole.values():
            for name, data in seeds.items():  # what is not damaged is read
                talk.inspect(talk.upload((name, data)))
        before = psutil.Process(address.process.pid).memory_info().rss
        figures = {
            kind: Fuzz(address).run(mutants(whole[kind], count, seed), workers)
            for kind, (_, count) in kinds.items()
        }
        assert talk.ask("Hello")["done"], "the app no longer answers"
        after = psutil.Process(address.process.pid).memory_info().rss
        return figures, (Path(folder) / "app.log").read_text(), before, after


def main(
    images: int = 2000,
    videos: int = 500,
    seed: Annotated[int, typer.Option(help="another one damages the files elsewhere")] = 0,
    workers: int = 4,
) -> None:
    """Print what came of every file; exit code 1 for a crash, a hang, or a refusal without words."""
    began = time.monotonic()
    figures, log, before, after = fuzz(images, videos, seed, workers)
    for kind, found in figures.items():
        seconds, slowest = found.slowest
        peaks = found.app_peak / 2**20, found.reader_peak / 2**20
        typer.echo(f"\n{found.outcomes.total():,} {kind}; slowest {seconds:.1f} s: {slowest}")
        typer.echo("\n".join(f"{count:>6}  {outcome}" for outcome, count in found.outcomes.most_common()))
        typer.echo("most memory: app {:.0f} MiB, a reader {:.0f} MiB".format(*peaks))
    ended = Counter(re.findall(r"the reader of \S+ ended: (.*)", log))
    broke = Counter(re.findall(r"could not be read: (\w+)", log))
    typer.echo(f"\nreaders that ended: {dict(ended)}; errors that no reader foresaw: {dict(broke)}")
    typer.echo(f"app {before / 2**20:.0f} → {after / 2**20:.0f} MiB, {time.monotonic() - began:.0f} s in all")
    problems = [problem for found in figures.values() for problem in found.problems]
    if after > before + 256 * 2**20:
        problems.append("the app's memory grew by more than 256 MiB")
    if any(found.reader_peak > 1.5 * MEMORY for found in figures.values()):
        problems.append("a reader took more memory than it may")
    typer.echo("\n".join(problems[:40]) or "nothing wrong")
    sys.exit(bool(problems))


if __name__ == "__main__":
    typer.run(main)
