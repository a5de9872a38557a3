"""From the start of a process to the first token, and the most memory on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from vlm.bench.models import preset_config, random_model
from vlm.bench.rows import Row, faster
from vlm.families.checkpoint import find_family, patch_shape
from vlm.families.naming import TINY
from vlm.weights.load import PATCH_EMBED, key_table

# The clock starts in this process, before the other is there. Peaks count from what the imports took.
_OURS = """
import sys, time
from vlm.engines import open_engine
from vlm.chat.session import ChatSession
from vlm.chat.sampling import Sampling
from vlm.models.devices import peak_bytes
imported = peak_bytes("cpu")
engine = open_engine(sys.argv[1], device="cpu", quantize="none")
print(peak_bytes("cpu") - imported)
list(ChatSession(engine).ask("What is this?", sampling=Sampling(1)))
"""
_REFERENCE = """
import sys, torch
from transformers import AutoModelForImageTextToText, AutoTokenizer
from vlm.models.devices import peak_bytes
imported = peak_bytes("cpu")
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
print(peak_bytes("cpu") - imported)
ids = tokenizer.apply_chat_template(
    [{"role": "user", "content": "What is this?"}], add_generation_prompt=True, return_tensors="pt",
    return_dict=True,
)
model.generate(**ids, max_new_tokens=1, do_sample=False)
"""
_END = """
print(peak_bytes("cpu") - imported)
"""


def startup(folder: Path, preset: str, layers: int | None, runs: int) -> list[Row]:
    """Rows ``load`` and ``peak_memory``."""
    checkpoint = folder / "checkpoint"
    nbytes = _write(checkpoint, preset, layers)
    ours, reference = [], []
    for _ in range(runs):
        ours.append(_measure(_OURS, checkpoint))
        reference.append(_measure(_REFERENCE, checkpoint))
    what = f"{preset} widths" + (f", {layers} layers" if layers else "")
    rows = [
        faster(
            "load", [run[0] for run in ours], [run[0] for run in reference],
            note=f"{what}; wall time from process start to the first token of a short question",
        )
    ]  # fmt: skip
    for name, index, moment in (
        ("peak_memory_load", 1, "after loading"),
        ("peak_memory", 2, "after the first token"),
    ):
        mine, theirs = ([run[index] / 2**20 for run in runs_] for runs_ in (ours, reference))
        note = f"{what}, {nbytes / 2**20:,.0f} MiB of weights; {moment}, beyond the imports: "
        note += f"{median(mine) * 2**20 / nbytes:.3f} × the weights"
        rows.append(faster(name, mine, theirs, "MiB", note, nbytes / 2**20))
    return rows


def _measure(code: str, folder: Path) -> tuple[float, int, int]:
    """(milliseconds, bytes after loading, bytes at the end)."""
    import time

    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + _END, str(folder)], capture_output=True, text=True, check=True
    )
    elapsed = 1000 * (time.perf_counter() - start)
    loaded, end = (int(line) for line in done.stdout.split()[-2:])
    return elapsed, loaded, end


def _write(folder: Path, preset: str, layers: int | None) -> int:
    """A checkpoint with random weights and the embedded model's tokenizer; its size in bytes."""
    folder.mkdir()
    model, _ = random_model(preset, layers=layers)
    config = preset_config(preset, layers)
    embedded = json.loads((TINY / "config.json").read_text())
    config |= {key: embedded[key] for key in embedded if key.endswith("_token_id")}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((TINY / name).read_bytes())
    table = key_table(model, find_family(config).layouts[0])
    tensors = {}
    for ours, theirs in table.items():
        tensor = model.get_parameter(ours).detach()
        if ours == PATCH_EMBED:
            tensor = tensor.view(len(tensor), *patch_shape(model.config))
        tensors[theirs] = tensor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return sum(tensor.nbytes for tensor in tensors.values() if isinstance(tensor, torch.Tensor))
