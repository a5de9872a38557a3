"""Quantised matrices are kept on disk, and found again only for the same files and mode."""

from __future__ import annotations

import pytest
import torch

from vlm.families.checkpoint import open_checkpoint, save_checkpoint
from vlm.weights import kept, load
from vlm.weights.banks import Bank


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GLASSBOX_CACHE", raising=False)
    monkeypatch.setattr(kept, "LEAST", 0)
    save_checkpoint(open_checkpoint("tiny", dtype="bfloat16"), tmp_path / "model")
    return tmp_path / "model"


def _files(folder):
    return sorted((folder.parent / "cache" / "glassbox-vl").glob("*"))


def _banks(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, Bank)}


@pytest.mark.parametrize("mode", ["nf4", "int8", "int4"])
def test_the_second_time_nothing_is_quantised(folder, monkeypatch, mode):
    first = open_checkpoint(folder, quantize=mode)
    assert len(_files(folder)) == 1
    monkeypatch.setattr(load, "quantised", lambda *_: pytest.fail("quantised again"))
    second = open_checkpoint(folder, quantize=mode)
    mine, theirs = _banks(first.model), _banks(second.model)
    assert mine.keys() == theirs.keys() and len(mine) > 20
    for name, bank in mine.items():
        assert type(bank) is type(theirs[name]) and bank.dtype == theirs[name].dtype
        for (buffer, one), (_, other) in zip(bank.named_buffers(), theirs[name].named_buffers(), strict=True):
            assert torch.equal(one, other), (name, buffer)
    x = torch.randn(2, mine[next(iter(mine))].shape[1]).bfloat16()
    for name in list(mine)[:3]:
        if mine[name].shape[1] == x.shape[1]:
            assert torch.equal(mine[name].linear(0, x), theirs[name].linear(0, x))


def test_other_weights_and_other_modes_are_not_mixed_up(folder):
    open_checkpoint(folder, quantize="nf4")
    open_checkpoint(folder, quantize="int8")
    assert len(_files(folder)) == 2
    (folder / "model.safetensors").touch()
    open_checkpoint(folder, quantize="nf4")
    assert len(_files(folder)) == 3


def test_a_broken_file_is_written_again_and_nothing_is_kept_where_nobody_wants_it(folder, monkeypatch):
    open_checkpoint(folder, quantize="int8")
    (file,) = _files(folder)
    file.write_bytes(b"broken")
    assert open_checkpoint(folder, quantize="int8").quantize == "int8"
    (file,) = _files(folder)
    assert file.stat().st_size > 1000
    file.unlink()
    monkeypatch.setenv("GLASSBOX_CACHE", "off")
    open_checkpoint(folder, quantize="int8")
    assert _files(folder) == []


def test_a_large_model_is_written_in_parts(folder, monkeypatch):
    monkeypatch.setattr(kept, "PART", 200_000)
    first = open_checkpoint(folder, quantize="int8")
    assert len(_files(folder)) > 3
    monkeypatch.setattr(load, "quantised", lambda *_: pytest.fail("quantised again"))
    assert _banks(open_checkpoint(folder, quantize="int8").model).keys() == _banks(first.model).keys()


def test_plain_weights_are_not_copied(folder):
    open_checkpoint(folder)
    assert _files(folder) == []
