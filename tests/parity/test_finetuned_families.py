"""Fine-tuning on one's own data works for every family, and transformers opens what comes out."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from twins import RECIPES

from vlm.families.checkpoint import open_checkpoint
from vlm.inputs.sequence import build_sequence, user_message
from vlm.train.train import TrainOptions, read_log, train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two conversations of different pictures, one with two turns."""
    folder = tmp_path_factory.mktemp("data")
    Image.new("RGB", (112, 84), "red").save(folder / "red.png")
    Image.new("RGB", (64, 96), "blue").save(folder / "blue.png")
    lines = [
        {"messages": [
            {"role": "user", "content": "<image>What colour is it?"},
            {"role": "assistant", "content": "red"},
            {"role": "user", "content": "And this?<image>"},
            {"role": "assistant", "content": "blue"},
        ], "images": ["red.png", "blue.png"]},
        {"conversations": [
            {"from": "human", "value": "What colour is it?"}, {"from": "gpt", "value": "blue"},
        ], "image": "blue.png"},
    ]  # fmt: skip
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.mark.parametrize("lora", [0, 4], ids=["weights", "lora"])
def test_a_family_learns_two_conversations(twin, data, tmp_path, lora):
    rate = 1e-2 if lora else 1e-3
    options = TrainOptions(
        out=tmp_path, init=twin.folder, data=data, lora=lora, steps=12, batch=2, tower=0.0, connector=rate,
        decoder=rate, warmup=1, decay=0.1, muon=False, compile=False, dtype="float32", eval_every=99,
    )  # fmt: skip
    folder = train(options)
    losses = [record["answers"] for record in read_log(tmp_path)]
    assert losses[-1] < 0.5 * losses[0]
    old, new = (load_file(path / "model.safetensors") for path in (twin.folder, folder))
    tower = [key for key in new if "visual.blocks" in key]
    assert tower and all(torch.equal(old[key], new[key]) for key in tower if key in old)
    assert logits_agree(twin, folder)


@torch.inference_mode()
def logits_agree(twin, folder) -> bool:
    """Ours and transformers' on a text prompt. float32 sums in another order: 1e-3 of logits of size 10."""
    name = RECIPES[twin.family].name
    reference = (
        getattr(transformers, f"{name}ForConditionalGeneration").from_pretrained(folder).float().eval()
    )
    ours = open_checkpoint(folder, device="cpu", dtype=torch.float32)
    sequence = build_sequence(
        [user_message("What colour is it?", [])], [], ours.tokenizer, ours.config.tokens
    )
    mine = ours.model.decoder.logits(ours.model(sequence, []))
    theirs = reference(input_ids=sequence.ids[None]).logits[0]
    return torch.allclose(mine, theirs, atol=1e-3, rtol=1e-3)
