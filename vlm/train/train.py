"""The training loop: schedule, checkpoints, exact resume, one or several processes.

Run it through ``python -m vlm train``; for several processes through ``torchrun --nproc-per-node N -m vlm
train …`` (torch.distributed picks gloo on CPUs and nccl on GPUs).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from vlm.families.base import Checkpoint
from vlm.families.checkpoint import open_checkpoint, save_checkpoint
from vlm.models.attention import Backend
from vlm.train.evaluate import evaluate
from vlm.train.make_tiny import make_tiny
from vlm.train.objective import CellHeads, losses
from vlm.train.optimise import MasterOptimiser
from vlm.train.pack import Packer
from vlm.train.stream import Difficulty, Stream, difficulty

HELD_OUT = 10**9  # seeds from here on are never trained on


@dataclass(frozen=True)
class TrainOptions:
    """A run. ``tower``, ``connector`` and ``decoder`` are peak learning rates; 0 freezes the stage."""

    out: Path
    init: Path | None = None  # a checkpoint folder to go on from; None: a fresh embedded model
    steps: int = 10_000
    batch: int = 32  # pictures a step and process
    segments: int = 8  # questions a picture
    tower: float = 2e-3
    connector: float = 2e-3
    decoder: float = 2e-3
    warmup: int = 100
    decay: float = 0.5  # share of the run over which the rates fall to zero
    cells: float = 1.0  # weight of the auxiliary losses; half of it by the middle of the run
    curriculum_start: float = 0.0  # where on the curriculum (0 … 1) the run begins
    seed: int = 0
    save_every: int = 250
    eval_every: int = 500
    device: str = "cpu"
    dtype: str = "bfloat16"
    attention: Backend = "eager"  # compiled on a CPU, a step is a little faster than with the fused kernel
    compile: bool = True  # fuse each block's pointwise work; costs a minute at the start


def schedule(step: int, options: TrainOptions) -> float:
    """Warm up, hold, then fall to zero in a straight line over the last ``decay`` of the run."""
    left = (options.steps - step) / max(1.0, options.decay * options.steps)
    return min(1.0, (step + 1) / max(1, options.warmup), left)


def train(options: TrainOptions) -> Path:
    """Train, resuming from ``out`` where a checkpoint lies there; returns the folder of the final model."""
    rank, world = _join()
    torch.manual_seed(options.seed)
    checkpoint = _start(options, rank)
    model = checkpoint.model.train().requires_grad_(True)
    heads = CellHeads(checkpoint.config.decoder.hidden_size).to(options.device, model.dtype)
    stages = {"tower": model.tower, "connector": model.connector, "decoder": model.decoder, "heads": heads}
    rates = {stage: getattr(options, stage, options.connector) for stage in stages}
    for stage, module in stages.items():
        module.requires_grad_(rates[stage] > 0)
    if options.compile:
        for block in (*model.tower.blocks, *model.decoder.layers):
            block.compile(dynamic=True)
    optimiser = MasterOptimiser(stages, rates)
    first = _resume(options, optimiser)
    stream = _stream(checkpoint, options)
    log = (options.out / "log.jsonl").open("a") if rank == 0 else None
    for step in tqdm(range(first, options.steps), initial=first, total=options.steps, disable=rank > 0):
        record = _step(step, options, model, heads, optimiser, stream, rank, world)
        if rank == 0:
            last = step + 1 == options.steps
            if last or (step + 1) % options.eval_every == 0:
                record["scores"] = _quick_scores(checkpoint, stream.packer, options)
            log.write(json.dumps(record) + "\n")
            log.flush()
            if last or (step + 1) % options.save_every == 0:
                _save(checkpoint, optimiser, step + 1, options)
    return options.out / "model"


def _step(step, options, model, heads, optimiser, stream, rank, world) -> dict:
    began = time.perf_counter()
    progress = options.curriculum_start + (1 - options.curriculum_start) * step / options.steps
    batch = stream.make(step * world + rank, difficulty(progress), world).to(options.device)
    made = time.perf_counter()
    parts = losses(model, heads, batch)
    fade = max(0.5, 1 - progress)
    cells = sum(loss for name, loss in parts.items() if name != "answers")
    (parts["answers"] + options.cells * fade * cells).backward()
    norm = optimiser.step(schedule(step, options))
    return {
        "step": step + 1,
        **{name: round(float(loss.detach()), 4) for name, loss in parts.items()},
        "norm": round(norm, 3),
        "data_s": round(made - began, 3),
        "step_s": round(time.perf_counter() - began, 3),
    }


def held_out(stream: Stream, level: Difficulty, count: int, seed: int = HELD_OUT) -> Iterator:
    """``count`` batches from seeds that training never uses."""
    fixed = Stream(stream.packer, stream.pixels, batch=stream.batch, segments=stream.segments, seed=seed)
    return (fixed.make(number, level) for number in range(count))


def _quick_scores(checkpoint: Checkpoint, packer: Packer, options: TrainOptions) -> dict:
    """A few hundred held-out questions at full difficulty: enough to see the curve."""
    checkpoint.model.eval()
    stream = Stream(packer, checkpoint.config.pixels, batch=32, segments=8, seed=0)
    level = difficulty(1.0)
    batches = [
        *held_out(stream, replace(level, clips=0.0), 4),
        *held_out(stream, replace(level, clips=1.0), 3, HELD_OUT + 1),
    ]
    scores = evaluate(checkpoint.model, (batch.to(options.device) for batch in batches))
    checkpoint.model.train()
    return {kind: [round(s.accuracy, 3), round(s.baseline, 3), s.asked] for kind, s in sorted(scores.items())}


def _stream(checkpoint: Checkpoint, options: TrainOptions) -> Stream:
    packer = Packer(checkpoint.tokenizer, checkpoint.config)
    return Stream(
        packer, checkpoint.config.pixels, batch=options.batch, segments=options.segments, seed=options.seed
    )


def _start(options: TrainOptions, rank: int) -> Checkpoint:
    folder = options.init or options.out / "start"
    if rank == 0:
        options.out.mkdir(parents=True, exist_ok=True)
        settings = {name: str(value) for name, value in asdict(options).items()}
        (options.out / "options.json").write_text(json.dumps(settings, indent=2))
        if options.init is None and not (folder / "model.safetensors").exists():
            make_tiny(folder, options.seed)
    if dist.is_initialized():
        dist.barrier()
    return open_checkpoint(folder, device=options.device, dtype=options.dtype, attention=options.attention)


def _join() -> tuple[int, int]:
    """Join the process group that torchrun announces, if any."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), dist.get_world_size()


def _resume(options: TrainOptions, optimiser: MasterOptimiser) -> int:
    path = options.out / "state.pt"
    if not path.exists():
        return 0
    state = torch.load(path, map_location=options.device, weights_only=True)
    optimiser.load_state_dict(state["optimiser"])
    return state["step"]


def _save(checkpoint: Checkpoint, optimiser: MasterOptimiser, step: int, options: TrainOptions) -> None:
    """Write the state under a new name first, so that a killed run never leaves half a file."""
    fresh = options.out / "state.new"
    torch.save({"step": step, "optimiser": optimiser.state_dict()}, fresh)
    fresh.replace(options.out / "state.pt")
    save_checkpoint(checkpoint, options.out / "model")


def read_log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
