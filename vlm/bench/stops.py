"""How long an answer goes on after a person has pressed stop."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from random import Random

from PIL import Image

from vlm.bench.rows import Row, faster
from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession

PROMISED = 300.0  # ms


def stop(engine: Engine, runs: int, longest: float) -> Row:
    """Milliseconds from the stop to the end of the stream, at random moments of an answer about a picture.

    Args:
        longest: seconds within which the stop comes: reading the file, encoding, prefill or decoding.
    """
    rng, waits = Random(0), []
    endless = replace(engine.config, tokens=replace(engine.config.tokens, eos=()))
    engine.model.config = endless  # the answer must not be over before the stop
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs):
            file = Path(folder) / f"{number}.png"  # a new picture, so that there is something to encode
            Image.new("RGB", (1024, 768), (number % 256, 90, 90)).save(file)
            waits.append(_stopped_after(engine, file, rng.uniform(0, longest)))
    note = f"{engine.name}: {runs} stops, the slowest after {max(waits):,.0f} ms; reference: what is promised"
    return faster("stop", waits, [PROMISED], note=note)


def _stopped_after(engine: Engine, file: Path, seconds: float) -> float:
    flag, pressed = threading.Event(), []

    def press() -> None:
        pressed.append(time.perf_counter())
        flag.set()

    timer = threading.Timer(seconds, press)
    timer.start()
    sampling = Sampling(10**6, temperature=1.5, seed=0)  # it would go on for long
    for _ in ChatSession(engine).ask("Describe the picture.", [file], sampling, stopped=flag.is_set):
        pass
    ended = time.perf_counter()
    timer.join()
    return 1000 * (ended - pressed[0])
