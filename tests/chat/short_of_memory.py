"""Ask about a picture in a process whose address space is too small for it at full size."""

from __future__ import annotations

import resource
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from PIL import Image

from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.families.checkpoint import open_checkpoint
from vlm.inputs.media import MediaOptions
from vlm.records import Progress, Trace

EDGE = 2048  # 16,384 patches: their pixels alone take 100 MB twice
torch.set_num_threads(1)
checkpoint = open_checkpoint("tiny", device="cpu", dtype=torch.bfloat16)
model = checkpoint.model
model.config = replace(model.config, decoder=replace(model.config.decoder, context_length=16384))
session = ChatSession(Engine(model, checkpoint.tokenizer, "tiny"))
session.engine.warm_up()
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "large.png"
    Image.new("RGB", (EDGE, EDGE), "teal").save(file)
    room = psutil.Process().memory_info().vms + 200 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    for event in session.ask("What colour is it?", [file], Sampling(4), MediaOptions(max_pixels=EDGE * EDGE)):
        if isinstance(event, Progress) and event.stage == "memory":
            print(event.detail)
        elif isinstance(event, Trace):
            print("answered", repr(event.answer), event.sequence.media[0].resized.shape)
