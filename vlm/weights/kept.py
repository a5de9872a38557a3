"""Quantised matrices on disk, so that a model is quantised once and not each time it is opened.

safetensors files under ``$XDG_CACHE_HOME/glassbox-vl`` (else ``~/.cache``); ``GLASSBOX_CACHE=off`` keeps
nothing. Their names have a hash of the weight files' names, sizes and times, and of what makes the matrices.
"""

from __future__ import annotations

import json
import logging
import os
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vlm.native.library import cache_folder
from vlm.weights.banks import Bank, FourBitBank, Int8Bank, InterleavedBank
from vlm.weights.int4 import Int4Bank
from vlm.weights.streamed import StreamedBank, works

log = logging.getLogger(__name__)
KINDS = {kind.__name__: kind for kind in (FourBitBank, InterleavedBank, Int8Bank, Int4Bank, StreamedBank)}
LEAST = 64 * 2**20  # bytes of the files; smaller models are quantised sooner than looked up
PART = 64 * 2**20  # bytes in one file: while it is written they are in memory twice
VERSION = 1  # of what the banks hold


class Kept:
    """What is on disk of one model in one mode, and what is to be written there."""

    def __init__(self, shards: list[Path], mode: str, device: torch.device, dtype: torch.dtype | None):
        self._stem: Path | None = None
        self._new: dict[str, Bank] = {}
        self._found: dict[str, tuple[dict, safe_open]] = {}
        self._parts = 0
        large = sum(shard.stat().st_size for shard in shards) >= LEAST
        cache = cache_folder()
        if not large or mode in ("none", "stored") or cache is None:
            return
        facts = [(str(shard.resolve()), shard.stat().st_size, shard.stat().st_mtime_ns) for shard in shards]
        instructions = torch.backends.cpu.get_cpu_capability()
        makers = (VERSION, mode, device.type, str(dtype), torch.__version__, instructions, works())
        name = sha256(repr((facts, makers)).encode()).hexdigest()[:24]
        self._stem = cache / f"{mode}-{name}"
        for part in sorted(self._stem.parent.glob(f"{self._stem.name}-*.safetensors")):
            self._open(part, device)
            self._parts += 1

    def get(self, name: str) -> Bank | None:
        """The bank of our parameter ``name``."""
        if name not in self._found:
            return None
        told, file = self._found[name]
        buffers = {buffer: file.get_tensor(f"{name}.{buffer}") for buffer in told["buffers"]}
        bank = KINDS[told["kind"]](tuple(told["shape"]), getattr(torch, told["dtype"]), **buffers)
        if isinstance(bank, FourBitBank):
            bank.kind, bank.blocks = told["code"], tuple(told["blocks"])
        return bank

    def put(self, name: str, bank: Bank) -> None:
        if self._stem is not None:
            self._new[name] = bank
            if sum(tensor.nbytes for kept in self._new.values() for tensor in kept.buffers()) >= PART:
                self.write()

    def write(self) -> None:
        """Write what was put, if anything; a full disk costs only the next start."""
        if not self._new:
            return
        tensors, banks = {}, {}
        for name, bank in self._new.items():
            banks[name] = _told(bank)
            # One table of codes serves all banks; a file wants each tensor in memory of its own.
            tensors |= {
                f"{name}.{buffer}": tensor.clone() if tensor.numel() <= 256 else tensor
                for buffer, tensor in bank.named_buffers()
            }
        self._new.clear()
        half = self._stem.with_name(f"{self._stem.name}.{os.getpid()}")
        try:
            half.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, half, metadata={"banks": json.dumps(banks)})
            half.replace(self._stem.with_name(f"{self._stem.name}-{self._parts}.safetensors"))
            self._parts += 1
        except (OSError, SafetensorError) as error:
            half.unlink(missing_ok=True)
            log.warning("the quantised matrices were not kept: %s", error)

    def _open(self, part: Path, device: torch.device) -> None:
        try:
            file = safe_open(part, framework="pt", device=str(device))
            self._found |= {name: (told, file) for name, told in json.loads(file.metadata()["banks"]).items()}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            part.unlink(missing_ok=True)  # broken: its matrices are made and written again


def _told(bank: Bank) -> dict:
    """What makes a bank of its buffers."""
    told = {"kind": type(bank).__name__, "shape": bank.shape, "dtype": str(bank.dtype).split(".")[1]}
    if isinstance(bank, FourBitBank):
        told |= {"code": bank.kind, "blocks": bank.blocks}
    return told | {"buffers": [buffer for buffer, _ in bank.named_buffers()]}
