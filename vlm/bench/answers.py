"""How fast a model loads and answers on one core, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from PIL import Image

from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.families.checkpoint import open_checkpoint
from vlm.records import InputError
from vlm.train import scenes

_CODE = "import sys; from vlm.bench.answers import _measure; _measure(sys.argv[1], sys.argv[2])"
RUNS = 7


def measure(folder: Path) -> dict[str, float]:
    """Load the model and describe a 224-pixel picture several times, with one thread.

    Returns:
        Medians: ``load_s``, ``first_token_ms`` and ``tokens_per_s``.

    Raises:
        InputError: the measuring process failed.
    """
    with TemporaryDirectory() as scratch:
        picture = Path(scratch) / "picture.png"
        draw_scene(picture)
        command = [sys.executable, "-c", _CODE, str(folder), str(picture)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise InputError(f"measuring the speed failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def draw_scene(path: Path) -> None:
    """Four drawn things, 224 pixels on the edge."""
    scene = scenes.random_scene(Random(0), width=224, height=224, count=(4, 4))
    Image.fromarray(scenes.draw(scene)[0]).save(path)


def _measure(folder: str, picture: str) -> None:
    loads, firsts, rates = [], [], []
    open_checkpoint(folder, device="cpu")  # the imports count once a program, not once a model
    for _ in range(RUNS):
        start = time.perf_counter()
        checkpoint = open_checkpoint(folder, device="cpu", dtype="fast")
        loads.append(time.perf_counter() - start)
        engine = Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name)
        engine.warm_up()
        *_, trace = ChatSession(engine).ask("Describe the picture.", [picture], Sampling(max_new_tokens=64))
        firsts.append(trace.stats["first_token_ms"])
        rates.append(trace.stats["decode_tokens_per_s"] or 0.0)
    print(json.dumps({
        "load_s": median(loads), "first_token_ms": median(firsts), "tokens_per_s": median(rates)
    }))  # fmt: skip
