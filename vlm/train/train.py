"""The training loop: schedule, checkpoints, exact resume, one or several processes.

Run it through ``python -m vlm train``; for several processes through ``torchrun --nproc-per-node N -m vlm
train …`` (torch.distributed picks gloo on CPUs and nccl on GPUs).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

from vlm.families.base import Checkpoint
from vlm.families.checkpoint import open_checkpoint, resolve_device, save_checkpoint
from vlm.models import branches
from vlm.models.attention import Backend
from vlm.records import InputError
from vlm.train.curves import draw_curves, read_log
from vlm.train.make_tiny import make_tiny
from vlm.train.objective import CellHeads, losses
from vlm.train.optimise import MasterOptimiser
from vlm.train.sources import HELD_OUT, Files, Scenes, held_out
from vlm.weights.lora import attach

__all__ = ["HELD_OUT", "TrainOptions", "held_out", "read_log", "schedule", "train"]


@dataclass(frozen=True)
class TrainOptions:
    """A run. ``tower``, ``connector`` and ``decoder`` are peak learning rates; 0 freezes the stage."""

    out: Path
    init: str | Path | None = None  # a model to go on from; None: a fresh embedded model
    data: Path | None = None  # a person's own conversations; None: drawn scenes
    lora: int = 0  # rank of adapters on the stages that train; 0: train their weights
    steps: int = 10_000
    batch: int = 32  # pictures (with --data: conversations) a step and process
    segments: int = 8  # questions a picture
    tower: float = 2e-3
    connector: float = 2e-3
    decoder: float = 2e-3
    warmup: int = 100
    decay: float = 0.5  # share of the run over which the rates fall to zero
    clip: float = 1.0  # longest gradient, all parameters together
    muon: bool = True  # for the matrices inside blocks; False: AdamW for all
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
    rank, world, device = _join(options.device)
    torch.manual_seed(options.seed)
    checkpoint = _start(options, rank, device)
    run = _Run(checkpoint, options, device)
    first = _resume(options, run.optimiser)
    log = (options.out / "log.jsonl").open("a") if rank == 0 else None
    for step in tqdm(range(first, options.steps), initial=first, total=options.steps, disable=rank > 0):
        record = run.step(step, rank, world)
        if rank == 0:
            _keep(run, record, log)
    if rank == 0:
        _finish(run)
    return options.out / "model"


class _Run:
    """What a run holds: the model, what trains of it, and where its batches come from."""

    def __init__(self, checkpoint: Checkpoint, options: TrainOptions, device: torch.device):
        self.checkpoint, self.options, self.device = checkpoint, options, device
        self.source = _source(checkpoint, options)
        self.model = checkpoint.model.train()
        rates = {"tower": options.tower, "connector": options.connector, "decoder": options.decoder}
        stages: dict[str, nn.Module] = {stage: getattr(self.model, stage) for stage in rates}
        self.adapters = None
        if options.lora:
            trained = [stage for stage, rate in rates.items() if rate]
            self.adapters = attach(self.model, options.lora, trained)
        else:
            for stage, module in stages.items():
                module.requires_grad_(rates[stage] > 0)
        self.heads = None
        if options.data is None and options.cells:
            self.heads = CellHeads(checkpoint.config.decoder.hidden_size).to(device, self.model.dtype)
            stages["heads"], rates["heads"] = self.heads, options.connector or options.decoder
        if options.compile:
            # On a CPU PyTorch's own softmax is several times as fast as the fused loop.
            branches.biased = torch.compiler.disable(branches.biased)
            for block in (*self.model.tower.blocks, *self.model.decoder.layers):
                block.compile(dynamic=True)
        self.optimiser = MasterOptimiser(stages, rates, muon=options.muon)

    def step(self, step: int, rank: int, world: int) -> dict:
        """One update; returns its record for the log."""
        began = time.perf_counter()
        progress = step / self.options.steps
        batch = self.source.batch(step * world + rank, world, progress).to(self.device)
        made = time.perf_counter()
        parts = losses(self.model, self.heads, batch)
        cells = sum(loss for name, loss in parts.items() if name != "answers")
        (parts["answers"] + self.options.cells * self.source.cells_weight(progress) * cells).backward()
        rate = schedule(step, self.options)
        norm = self.optimiser.step(rate, self.options.clip)
        return {
            "step": step + 1,
            **{name: round(float(loss.detach()), 4) for name, loss in parts.items()},
            "norm": round(norm, 3),
            "rate": round(rate, 4),
            "data_s": round(made - began, 3),
            "step_s": round(time.perf_counter() - began, 3),
        }


def _source(checkpoint: Checkpoint, options: TrainOptions) -> Scenes | Files:
    if options.data:
        return Files(checkpoint, options.data, options.batch, options.seed)
    return Scenes(checkpoint, options.batch, options.segments, options.seed, options.curriculum_start)


def _keep(run: _Run, record: dict, log) -> None:
    """Score, log and save as often as asked, and always at the end."""
    options, step = run.options, record["step"]
    last = step == options.steps
    if last or step % options.eval_every == 0:
        record["scores"] = run.source.scores()
    log.write(json.dumps(record) + "\n")
    log.flush()
    if last or step % options.save_every == 0:
        _save(run, step)
    if "scores" in record:
        draw_curves(options.out)


def _save(run: _Run, step: int) -> None:
    """Write the state under a new name first, so that a killed run never leaves half a file."""
    fresh = run.options.out / "state.new"
    torch.save({"step": step, "optimiser": run.optimiser.state_dict()}, fresh)
    fresh.replace(run.options.out / "state.pt")
    if run.adapters is None:
        save_checkpoint(run.checkpoint, run.options.out / "model")


def _finish(run: _Run) -> None:
    """Adapters go into the weights once, at the end; until then they live in the state."""
    if run.adapters is not None:
        run.adapters.merge_and_unload()
        save_checkpoint(run.checkpoint, run.options.out / "model")


def _start(options: TrainOptions, rank: int, device: torch.device) -> Checkpoint:
    folder = options.init or options.out / "start"
    if rank == 0:
        options.out.mkdir(parents=True, exist_ok=True)
        settings = {name: str(value) for name, value in asdict(options).items()}
        (options.out / "options.json").write_text(json.dumps(settings, indent=2))
        if options.init is None and not (options.out / "start" / "model.safetensors").exists():
            make_tiny(folder, options.seed)
    if dist.is_initialized():
        dist.barrier()
    return open_checkpoint(folder, device=device, dtype=options.dtype, attention=options.attention)


def _join(device: str) -> tuple[int, int, torch.device]:
    """Rank, number of processes and device; joins the process group that torchrun announces, if any."""
    resolved = resolve_device(device)
    if "WORLD_SIZE" not in os.environ:
        return 0, 1, resolved
    if resolved.type == "cuda":
        resolved = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(resolved)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if resolved.type == "cuda" else "gloo")
    return dist.get_rank(), dist.get_world_size(), resolved


def _resume(options: TrainOptions, optimiser: MasterOptimiser) -> int:
    path = options.out / "state.pt"
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        optimiser.load_state_dict(state["optimiser"])
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{options.out} holds a run of other stages: choose another --out") from error
    return state["step"]
