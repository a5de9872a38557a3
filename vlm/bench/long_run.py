"""Long days: a thousand turns in one chat, two hundred chats in one process. Memory must come to rest.

python -m vlm.bench.long_run --turns 1000 --chats 200 --picture docs/long-run.png
"""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from PIL import Image
from tqdm import tqdm

from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import BudgetError, ChatSession
from vlm.families.checkpoint import open_checkpoint

QUESTIONS = ("What colour is the circle?", "How many objects are there?", "Where is it?", "Describe it.")
SAMPLING = Sampling(max_new_tokens=12)
Point = tuple[int, int, int, int]  # turn, resident bytes, bytes in caches, bytes in the memo


def main(
    turns: int = 1000,
    chats: int = 200,
    cache_mib: Annotated[int, typer.Option(help="bound on the keys and values of all chats")] = 24,
    memo_mib: Annotated[int, typer.Option(help="bound on encoded media")] = 4,
    dtype: Annotated[
        str, typer.Option(help="in bfloat16 PyTorch's own store of kernels grows too")
    ] = "float32",
    picture: Annotated[Path | None, typer.Option(help="write the curves to this PNG")] = None,
) -> None:
    """Print the curves of one long chat and of many chats."""
    checkpoint = open_checkpoint("tiny", device="cpu", dtype=dtype)

    def engine() -> Engine:
        return Engine(
            checkpoint.model, checkpoint.tokenizer, "tiny",
            cache_bytes=cache_mib * 2**20, memo_bytes=memo_mib * 2**20,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        curves = {
            f"{turns:,} turns in one chat": list(one_chat(engine(), turns, Path(folder))),
            f"{chats:,} chats in turn": list(many_chats(engine(), chats, Path(folder))),
        }
    for title, points in curves.items():
        typer.echo(f"{title}\n{_table(points)}\n")
    if picture:
        _draw(curves, picture)


def one_chat(engine: Engine, turns: int, folder: Path) -> Iterator[Point]:
    """A picture every tenth turn. Where the context is full, the way out that is offered is taken."""
    session, rng = ChatSession(engine), random.Random(0)
    for turn in tqdm(range(turns), desc="turns", disable=None):
        files = [_picture(folder, rng)] if turn % 10 == 0 else []
        _ask(session, rng.choice(QUESTIONS), files)
        if turn % 25 == 24:
            yield _point(turn + 1, engine)


def many_chats(engine: Engine, chats: int, folder: Path) -> Iterator[Point]:
    """All chats stay open, and each asks three times, in random order."""
    rng = random.Random(1)
    sessions = [ChatSession(engine) for _ in range(chats)]
    line = [session for session in sessions for _ in range(3)]
    rng.shuffle(line)
    for turn, session in enumerate(tqdm(line, desc="chats", disable=None)):
        files = [] if session.turns else [_picture(folder, rng)]
        _ask(session, rng.choice(QUESTIONS), files)
        if turn % 25 == 24:
            yield _point(turn + 1, engine)


def _ask(session: ChatSession, text: str, files: list[Path]) -> None:
    try:
        _run(lambda: session.ask(text, files, SAMPLING))
    except BudgetError as error:
        choice = error.plan.choices[-1]
        _run(lambda: session.ask(text, files, SAMPLING, choice=choice))


def _run(ask: Callable[[], Iterator]) -> None:
    for _ in ask():
        pass


def _picture(folder: Path, rng: random.Random) -> Path:
    path = folder / "picture.png"
    noise = np.random.default_rng(rng.randrange(10**9)).integers(0, 255, (192, 192, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def _point(turn: int, engine: Engine) -> Point:
    gc.collect()
    return turn, psutil.Process().memory_info().rss, engine.caches.nbytes, engine.memo.nbytes


def _table(points: list[Point]) -> str:
    lines = [f"{'turn':>6} {'resident':>12} {'caches':>12} {'memo':>12}"]
    lines += [f"{turn:>6} " + " ".join(f"{n / 2**20:>8.1f} MiB" for n in sizes) for turn, *sizes in points]
    return "\n".join(lines)


def _draw(curves: dict[str, list[Point]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(10, 3.6), sharey=True, layout="constrained")
    for axis, (title, points) in zip(axes, curves.items(), strict=True):
        turns, *sizes = zip(*points, strict=True)
        for label, values in zip(("process", "keys and values", "encoded media"), sizes, strict=True):
            axis.plot(turns, [value / 2**20 for value in values], label=label)
        axis.set(title=title, xlabel="turn", ylabel="MiB", ylim=(0, None))
    axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(main)
