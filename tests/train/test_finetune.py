"""Fine-tuning on one's own data teaches something new, and leaves alone what is frozen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vlm.families.checkpoint import TINY
from vlm.records import InputError
from vlm.train.train import TrainOptions, train

ROOT = Path(__file__).parent.parent.parent


def weights(folder: Path) -> dict:
    return load_file(folder / "model.safetensors")


@pytest.mark.timeout(600)  # half a minute on two free cores
def test_the_example_teaches_a_new_shape(tmp_path):
    """Less than a minute of LoRA on the decoder; what it learnt and what it kept stand in the test log."""
    command = [
        sys.executable,
        "examples/finetune.py",
        "--out",
        tmp_path,
        "--pictures",
        "400",
        "--steps",
        "110",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    before, after = (next(line for line in lines if line.startswith(word)) for word in ("before:", "after:"))
    (blims_before, known_before), (blims, known) = (
        [float(word) for word in line.split() if word[0].isdigit()] for line in (before, after)
    )
    assert blims_before == 0.0  # it has no word for them
    assert blims >= 0.7
    assert known >= known_before - 0.2  # 95% interval of 30 questions: ± 0.18, of a difference a little more
    old, new = weights(TINY), weights(tmp_path / "run" / "model")
    frozen = [key for key in old if ".visual." in key]
    assert all(torch.equal(old[key], new[key]) for key in frozen)
    assert any(not torch.equal(old[key], new[key]) for key in old if key not in frozen)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 10_000


@pytest.fixture
def options(tmp_path) -> TrainOptions:
    Image.new("RGB", (160, 160), "red").save(tmp_path / "a.png")
    talk = {
        "messages": [
            {"role": "user", "content": "<image>What is this?"},
            {"role": "assistant", "content": "A red field."},
        ],
        "images": ["a.png"],
    }
    (tmp_path / "data.jsonl").write_text(json.dumps(talk))
    return TrainOptions(
        out=tmp_path / "run", init="tiny", data=tmp_path / "data.jsonl", steps=3, batch=2, tower=0.0,
        connector=0.0, decoder=1e-3, warmup=1, muon=False, compile=False, lora=4, save_every=2, eval_every=9,
    )  # fmt: skip


def test_adapters_resume_exactly(options, tmp_path, monkeypatch):
    whole = weights(train(options))
    broken = replace(options, out=tmp_path / "broken")
    original, calls = torch.Tensor.backward, []

    def backward(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.Tensor, "backward", backward)
        train(broken)
    resumed = weights(train(broken))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_run_of_other_stages_is_not_resumed(options):
    train(options)
    with pytest.raises(InputError, match="choose another --out"):
        train(replace(options, connector=1e-3, steps=4))


def test_weights_train_on_files_without_adapters(options):
    old, new = weights(TINY), weights(train(replace(options, lora=0, decoder=0.0, connector=1e-3, steps=1)))
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed and all("merger" in key for key in changed)


def test_everything_frozen_is_refused(options):
    with pytest.raises(InputError, match="every stage is frozen"):
        train(replace(options, decoder=0.0))
