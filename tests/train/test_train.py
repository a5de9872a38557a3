"""Training as a whole: it learns, it resumes exactly, what is frozen stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vlm.families.checkpoint import TINY, open_checkpoint
from vlm.train.evaluate import Score, evaluate
from vlm.train.stream import difficulty
from vlm.train.train import HELD_OUT, TrainOptions, held_out, read_log, schedule, train

ROOT = Path(__file__).parent.parent.parent


def options(out, **changes) -> TrainOptions:
    base = TrainOptions(
        out=out, init=TINY, steps=4, batch=2, segments=3, warmup=1, save_every=2, eval_every=100,
        curriculum_start=0.5, compile=False,
    )  # fmt: skip
    return replace(base, **changes)


@pytest.fixture(autouse=True)
def no_scores(monkeypatch):
    """The evaluation has tests of its own; here it would only take time."""
    monkeypatch.setattr("vlm.train.sources.Scenes.scores", lambda *_: {})


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path, monkeypatch):
    train(options(tmp_path / "whole"))

    def interrupt(*args):
        raise KeyboardInterrupt

    broken = options(tmp_path / "broken")
    original = torch.Tensor.backward
    calls = []

    def backward(self, *args, **kwargs):
        calls.append(1)
        return interrupt() if len(calls) == 3 else original(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.Tensor, "backward", backward)
        train(broken)
    train(broken)
    whole, resumed = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert [record["step"] for record in read_log(broken.out)] == [1, 2, 3, 4]


def test_a_frozen_tower_stays_bit_for_bit(tmp_path):
    before = load_file(TINY / "model.safetensors")
    after = load_file(train(options(tmp_path, tower=0.0, steps=2)) / "model.safetensors")
    changed = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    tower = [key for key in before if ".visual." in key and "merger" not in key]
    assert all(torch.equal(before[key], after[key]) for key in tower)
    assert "language_model" in changed


def test_a_fresh_model_learns(tmp_path):
    """Forty steps on one plain thing: the loss of the answers falls far below its start."""
    train(options(tmp_path, init=None, steps=40, batch=4, segments=6, warmup=5, curriculum_start=0.0))
    losses = [record["answers"] for record in read_log(tmp_path)]
    assert losses[0] > 6.5  # ln(1280) = 7.2: it starts knowing nothing
    assert sum(losses[-5:]) / 5 < losses[0] / 1.5


def test_the_schedule_warms_up_holds_and_falls_to_zero():
    run = TrainOptions(out=Path(), steps=1000, warmup=10, decay=0.5)
    rates = [schedule(step, run) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1) and rates[9:500] == [1.0] * 491
    assert rates[500:] == sorted(rates[500:], reverse=True) and rates[-1] == pytest.approx(0.002)


def test_two_processes_train_one_model(tmp_path):
    """torchrun with gloo, through the command line that the README shows."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "vlm", "train", "--out", tmp_path, "--init", TINY, "--steps", "2", "--batch", "2",
        "--segments", "2", "--no-compile", "--eval-every", "100",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").open()] == [1, 2]
    open_checkpoint(tmp_path / "model", device="cpu")


def test_held_out_batches_are_never_trained_on(stream):
    level = difficulty(1.0)
    (fresh,) = held_out(stream, level, 1)
    trained = stream.make(0, level)
    assert stream.seed < HELD_OUT
    assert fresh.pixels.shape != trained.pixels.shape or not torch.equal(fresh.pixels, trained.pixels)


def test_scores_agree_with_greedy_generation(stream, tiny):
    """An answer is scored right exactly when a greedy chat writes it."""
    from random import Random

    from vlm.chat.sampling import Sampling
    from vlm.chat.session import ChatSession, Engine
    from vlm.chat.session import Turn as Asked

    level = replace(difficulty(1.0), dialogues=0.0, small_talk=0.0, zh=0.0)
    made = stream._pictures(Random(11), Random(11), level)
    scores = evaluate(tiny.model, [stream.packer.pack(made)])
    right = 0
    for sample in made:
        engine = Engine(tiny.model, tiny.tokenizer, "tiny")  # drawn scenes carry no digest to tell them apart
        for segment in sample.segments:
            (turn,) = segment.turns
            session = ChatSession(engine)
            session.turns.append(Asked(turn.question, (sample.pictures[0].patches,)))
            *_, trace = session.retry(Sampling(80))
            right += trace.answer == turn.answer
    total = sum(score.right for score in scores.values())
    # bfloat16 sums in another order may tip one near tie; more would mean two different models.
    assert abs(total - right) <= 1


def test_the_interval_is_wilsons():
    low, high = Score(asked=100, right=90).interval()
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-4)  # tables of the score interval
