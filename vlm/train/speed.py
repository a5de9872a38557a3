"""How fast a model loads and answers on one core, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from vlm.records import InputError

_CODE = "import sys; from vlm.train.speed import _measure; _measure(sys.argv[1], sys.argv[2])"
RUNS = 7


@dataclass(frozen=True)
class Speed:
    """Medians: seconds to load the files, milliseconds to the first token, tokens a second after it."""

    load_s: float
    first_token_ms: float
    tokens_per_s: float

    def figures(self) -> dict[str, float]:
        return asdict(self)

    def sentence(self) -> str:
        return (
            f"On one core, medians of {RUNS}: loads in {self.load_s:.2f} s, first token "
            f"{self.first_token_ms:.0f} ms after a 224-pixel picture is handed over, then "
            f"{self.tokens_per_s:.0f} tokens a second."
        )


def measure(folder: Path) -> Speed:
    """Load the model and describe a picture, several times, with one thread.

    Raises:
        InputError: the measuring process failed.
    """
    with TemporaryDirectory() as scratch:
        picture = Path(scratch) / "picture.png"
        _draw(picture)
        command = [sys.executable, "-c", _CODE, str(folder), str(picture)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise InputError(f"measuring the speed failed: {done.stderr.strip().splitlines()[-1]}")
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


def _draw(path: Path) -> None:
    from random import Random

    from PIL import Image

    from vlm.train import scenes

    scene = scenes.random_scene(Random(0), width=224, height=224, count=(4, 4))
    Image.fromarray(scenes.draw(scene)[0]).save(path)


def _measure(folder: str, picture: str) -> None:
    from vlm.chat.sampling import Sampling
    from vlm.chat.session import ChatSession, Engine
    from vlm.families.checkpoint import open_checkpoint

    loads, firsts, rates = [], [], []
    open_checkpoint(folder, device="cpu")  # the imports count once a program, not once a model
    for _ in range(RUNS):
        start = time.perf_counter()
        checkpoint = open_checkpoint(folder, device="cpu")
        loads.append(time.perf_counter() - start)
        engine = Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name)
        engine.warm_up()
        *_, trace = ChatSession(engine).ask("Describe the picture.", [picture], Sampling(max_new_tokens=64))
        firsts.append(trace.stats["first_token_ms"])
        rates.append(trace.stats["decode_tokens_per_s"] or 0.0)
    print(json.dumps({
        "load_s": median(loads), "first_token_ms": median(firsts), "tokens_per_s": median(rates)
    }))  # fmt: skip
