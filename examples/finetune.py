"""Teaches the embedded model a shape that it has never seen: ``python examples/finetune.py``.

It draws pictures of a made-up shape, the "blim", among known ones, writes them as a data set of the kind that
Qwen and LLaMA-Factory read, and trains LoRA adapters on the decoder for about a minute. Then it asks about
fresh pictures, as it did before. Your own pictures go the same way: a .jsonl file like this one, and

    python -m vlm train --init tiny --data FOLDER --out runs/mine --lora 16 --tower 0 \\
        --connector 0 --decoder 3e-3
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from vlm.chat.sampling import Sampling  # noqa: E402
from vlm.chat.session import ChatSession, Engine  # noqa: E402
from vlm.families.checkpoint import open_checkpoint  # noqa: E402
from vlm.train import questions, scenes  # noqa: E402
from vlm.train.scenes.drawing import DISTANCES  # noqa: E402

BLIM = "blim"
KINDS = ("shape", "shape", "shape", "colour", "describe")
EDGE = 192  # pixels


def blim(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance, in radii, of a flower with six petals and a hole in the middle."""
    radius = np.hypot(u, v)
    return np.maximum(radius - 0.78 - 0.3 * np.cos(6 * np.arctan2(v, u)), 0.3 - radius)


def picture(rng: Random, shape: str | None = None) -> scenes.Scene:
    """One thing of this shape, or up to three of which about half are blims."""
    shapes = (shape,) if shape else (*rng.sample(scenes.SHAPES, 2), BLIM, BLIM)
    return scenes.random_scene(
        rng, width=EDGE, height=EDGE, count=(1, 1 if shape else 3), shapes=shapes,
        sizes=("medium", "large"), patterns=("plain",), textures=("plain",),
    )  # fmt: skip


def write_data(folder: Path, number: int, seed: int) -> Path:
    """``number`` pictures and as many lines of ``train.jsonl``, each a question with its answer."""
    rng, lines = Random(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    while len(lines) < number:
        scene = picture(rng)
        question = questions.ask(scene, rng, KINDS)
        if question:
            name = f"{len(lines):04}.png"
            save(scene, folder / name)
            messages = [
                {"role": "user", "content": "<image>" + question.text},
                {"role": "assistant", "content": question.answer},
            ]
            lines.append(json.dumps({"messages": messages, "images": [name]}))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def save(scene: scenes.Scene, path: Path) -> None:
    Image.fromarray(scenes.draw(scene)[0]).save(path)


def accuracy(model: str | Path, shapes: tuple[str, ...], number: int, seed: int) -> float:
    """Share of right answers to "What shape is the … thing?" on fresh pictures of these shapes."""
    checkpoint = open_checkpoint(model, device="cpu")
    engine = Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name)
    rng, right = Random(seed), 0
    with TemporaryDirectory() as folder:
        for index in range(number):
            scene = picture(rng, shapes[index % len(shapes)])
            file = Path(folder) / f"{index}.png"
            save(scene, file)
            question = f"What shape is the {scene.things[0].colour} thing?"
            *_, trace = ChatSession(engine).ask(question, [file], Sampling(max_new_tokens=8))
            right += trace.answer == scene.things[0].shape
    return right / number


def main(
    out: Annotated[Path, typer.Option(help="folder for the data and the run")] = ROOT / "runs" / "blim",
    model: str = "tiny",
    pictures: int = 600,
    steps: int = 160,
    asked: Annotated[int, typer.Option(help="fresh questions before and after")] = 60,
) -> None:
    DISTANCES[BLIM] = blim
    write_data(out / "data", pictures, seed=1)
    before = accuracy(model, (BLIM,), asked, seed=2), accuracy(model, scenes.SHAPES, asked, seed=3)
    command = [
        sys.executable, "-m", "vlm", "train", "--init", model, "--data", out / "data", "--out", out / "run",
        "--lora", "16", "--tower", "0", "--connector", "0", "--decoder", "3e-3", "--warmup", "10",
        "--steps", steps, "--batch", "16", "--eval-every", steps, "--save-every", steps, "--device", "cpu",
    ]  # fmt: skip
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    tuned = out / "run" / "model"
    after = accuracy(tuned, (BLIM,), asked, seed=2), accuracy(tuned, scenes.SHAPES, asked, seed=3)
    print(f"before: {before[0]:.2f} of the blims, {before[1]:.2f} of the known shapes")
    print(f"after:  {after[0]:.2f} of the blims, {after[1]:.2f} of the known shapes")


if __name__ == "__main__":
    typer.run(main)
