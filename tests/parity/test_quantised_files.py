"""Quantised checkpoints of the hub: written by transformers, or by hand as they are laid out.

All in float32, so that what differs is the reading and not the rounding. A quantised checkpoint of the tower
or the experts is covered too: transformers quantises the tower where nobody forbids it, and never experts.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from oracle import expect
from safetensors.torch import load_file, save_file
from stages import ROUNDING, close, our_logits, our_run
from talks import TALKS
from twins import RECIPES, Twin

from vlm.families.checkpoint import open_checkpoint, save_checkpoint
from vlm.records import InputError
from vlm.weights.banks import Bank, QuantLinear

WEIGHTS = "model.safetensors"
TALK = TALKS["image"]


def _logits(twin: Twin) -> torch.Tensor:
    return our_logits(twin, *our_run(twin, TALK))


@pytest.mark.parametrize("family", RECIPES)
def test_nf4_of_transformers(quantised, family):
    """Same codes, same scales, same logits; the tower that it quantised too is unpacked."""
    twin = quantised(family, "nf4")
    close(f"nf4 {family}", _logits(twin), expect(twin, TALK).logits)
    assert twin.ours.quantize == "nf4" and "already" in twin.ours.quantize_reason
    banks = [name for name, module in twin.ours.model.named_modules() if isinstance(module, QuantLinear)]
    assert banks and all(name.startswith("decoder.layers.") for name in banks)
    assert any(key.startswith(("visual", "model.visual")) and ".absmax" in key for key in _stored(twin))


def _stored(twin: Twin) -> dict[str, torch.Tensor]:
    return load_file(twin.folder / WEIGHTS)


def test_fp4_without_double_quantisation(quantised):
    twin = quantised("qwen3_vl", "fp4")
    close("fp4", _logits(twin), expect(twin, TALK).logits)
    assert twin.ours.quantize == "fp4"


def test_int8_of_transformers(quantised):
    """Inputs are rounded to 8 bits on the way, and a rounding may fall to the other side: 1/127 of one input.

    The weights are equal exactly, and the logits closer than any wrong scale would leave them.
    """
    twin = quantised("qwen2_5_vl", "int8")
    stored = _stored(twin)
    for index, layer in enumerate(twin.ours.model.decoder.layers):
        values = next(v for k, v in stored.items() if k.endswith(f"layers.{index}.mlp.up_proj.weight"))
        assert torch.equal(layer.mlp.up_proj.weight.values[0], values)
    ours, theirs = _logits(twin), expect(twin, TALK).logits
    cosine = torch.cosine_similarity(ours, theirs, dim=-1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("mode", ["none", "int8"])
def test_another_mode_unpacks_first(quantised, mode):
    twin = quantised("qwen3_vl", "nf4")
    ours = open_checkpoint(twin.folder, dtype=torch.float32, quantize=mode)
    assert ours.quantize == mode and "unpacked from the nf4" in ours.quantize_reason
    again, expected = _logits(Twin(twin.family, twin.folder, twin.reference, ours)), expect(twin, TALK).logits
    if mode == "none":
        assert not any(isinstance(module, Bank) for module in ours.model.modules())
        close("unpacked", again, expected)
    else:
        assert torch.cosine_similarity(again, expected, dim=-1).min() > 0.99


def test_parts_of_a_matrix_in_different_shards(quantised, tmp_path):
    twin = quantised("qwen3_vl", "nf4")
    _copy(twin.folder, tmp_path)
    (tmp_path / WEIGHTS).unlink()
    stored = _stored(twin)
    halves = {"a.safetensors": list(stored)[::2], "b.safetensors": list(stored)[1::2]}
    for name, keys in halves.items():
        save_file({key: stored[key] for key in keys}, tmp_path / name)
    index = {key: name for name, keys in halves.items() for key in keys}
    (tmp_path / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": index}))
    ours = open_checkpoint(tmp_path, dtype=torch.float32, quantize="auto")
    assert torch.equal(_logits(Twin(twin.family, tmp_path, twin.reference, ours)), _logits(twin))


def test_a_part_that_is_missing_is_named(quantised, tmp_path):
    twin = quantised("qwen3_vl", "nf4")
    stored = _stored(twin)
    gone = next(key for key in stored if key.endswith("q_proj.weight.absmax"))
    _copy(twin.folder, tmp_path)
    save_file({key: tensor for key, tensor in stored.items() if key != gone}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match=r"q_proj\.weight is not stored as bitsandbytes stores"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("mode", ["nf4", "int8"])
def test_experts_of_both_orders_become_the_same(twins, tmp_path, mode):
    """transformers writes experts (E, out, in); the hub, as we do, (E, in, out)."""
    twin = twins("qwen3_vl_moe")
    save_checkpoint(twin.ours, tmp_path)
    opened = [open_checkpoint(folder, quantize=mode) for folder in (twin.folder, tmp_path)]
    ours, other = (_logits(Twin(twin.family, tmp_path, twin.reference, each)) for each in opened)
    assert torch.equal(ours, other)
    mlp = opened[0].model.decoder.layers[0].mlp
    assert isinstance(mlp.gate_up_proj, Bank) and isinstance(mlp.down_proj, Bank)


def _copy(source, target) -> None:
    for file in source.iterdir():
        shutil.copyfile(file, target / file.name)


def _rewrite(twin: Twin, folder, settings: dict, pack) -> dict[str, torch.Tensor]:
    """A copy of the twin with the decoder's matrices packed; what they then stand for, by name.

    ``pack(name, tensor)`` → (stored parts, the dense matrix they stand for), or None to leave it.
    """
    _copy(twin.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    parts, dense = {}, {}
    for name, tensor in _stored(twin).items():
        packed = pack(name, tensor) if "layers" in name and tensor.dim() > 1 else None
        own, dense[name] = packed or ({name: tensor}, tensor)
        parts |= {key: value.contiguous() for key, value in own.items()}
    save_file(parts, folder / WEIGHTS, metadata={"format": "pt"})
    return dense


def _expected(twin: Twin, dense: dict[str, torch.Tensor], folder) -> torch.Tensor:
    """Our logits with the dense matrices in plain files."""
    folder.mkdir()
    _copy(twin.folder, folder)
    save_file({key: value.contiguous() for key, value in dense.items()}, folder / WEIGHTS)
    ours = open_checkpoint(folder, dtype=torch.float32)
    return _logits(Twin(twin.family, folder, twin.reference, ours))


FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [32, 32]}


def _to_fp8(name: str, tensor: torch.Tensor):
    """Blocks of 32 × 32, those at the edges smaller, as the official files have 128 × 128."""
    if name.endswith("mlp.gate.weight"):
        return None
    rows, columns = tensor.shape[-2:]
    scales = torch.empty(*tensor.shape[:-2], -(-rows // 32), -(-columns // 32))
    codes, dense = tensor.to(torch.float8_e4m3fn), tensor.clone()
    for i in range(scales.shape[-2]):
        for j in range(scales.shape[-1]):
            block = (..., slice(32 * i, 32 * i + 32), slice(32 * j, 32 * j + 32))
            scales[..., i, j] = tensor[block].abs().amax((-2, -1)) / 448
            own = scales[..., i, j, None, None]
            codes[block] = (tensor[block] / own).to(torch.float8_e4m3fn)
            dense[block] = codes[block].float() * own
    return {name: codes, f"{name}_scale_inv": scales}, dense


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl_moe"])
def test_float8_in_blocks_is_unpacked(twins, tmp_path, family):
    twin, folder = twins(family), tmp_path / "fp8"
    folder.mkdir()
    dense = _rewrite(twin, folder, FP8, _to_fp8)
    ours = open_checkpoint(folder, dtype=torch.float32, quantize="auto")
    assert ours.quantize == "none"
    found = _logits(Twin(family, folder, twin.reference, ours))
    close("float8", found, _expected(twin, dense, tmp_path / "plain"))
    assert open_checkpoint(folder, quantize="nf4").model.nbytes < open_checkpoint(folder).model.nbytes


def test_float8_as_transformers_unpacks_it(twins, tmp_path):
    """The reference's own reading of the same files, where blocks divide the matrices."""
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    tensor = torch.randn(64, 96)
    parts, dense = _to_fp8("a.weight", tensor)
    theirs = Fp8Dequantize(None)._dequantize_one(*parts.values(), torch.float32)
    assert torch.equal(theirs, dense)


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm", "zero_point": True}
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)  # of column c within its int32, in nibbles from the lowest


def _to_awq(name: str, tensor: torch.Tensor):
    """Groups of 16 inputs, eight outputs to an int32, as AutoAWQ's GEMM order has them."""
    if ".visual" in name or name.startswith("visual") or not name.endswith("_proj.weight"):
        return None
    outputs, inputs = tensor.shape
    groups = tensor.t().reshape(inputs // 16, 16, outputs)
    low, high = groups.amin(1), groups.amax(1)  # (K/16, N)
    scales = (high - low) / 15
    zeros = (-low / scales).round().clamp(0, 15)
    codes = (groups / scales[:, None] + zeros[:, None]).round().clamp(0, 15)
    dense = ((codes - zeros[:, None]) * scales[:, None]).reshape(inputs, outputs).t()
    base = name.removesuffix("weight")
    qweight, qzeros = _pack(codes.reshape(inputs, outputs)), _pack(zeros)
    return {f"{base}qweight": qweight, f"{base}qzeros": qzeros, f"{base}scales": scales}, dense


def _pack(codes: torch.Tensor) -> torch.Tensor:
    packed = torch.zeros(codes.shape[0], codes.shape[1] // 8, dtype=torch.int64)
    for column in range(8):
        packed |= codes[:, column::8].long() << (4 * PLACES[column])
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


def test_awq_is_unpacked(twins, tmp_path):
    twin, folder = twins("qwen2_5_vl"), tmp_path / "awq"
    folder.mkdir()
    dense = _rewrite(twin, folder, AWQ, _to_awq)
    ours = open_checkpoint(folder, dtype=torch.float32)
    found = _logits(Twin(twin.family, folder, twin.reference, ours))
    close("AWQ", found, _expected(twin, dense, tmp_path / "plain"), ROUNDING)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"quant_method": "gptq", "bits": 4}, "'gptq'"),
        (AWQ | {"version": "gemv"}, "gemv"),
        ({"bits": 3}, "None"),
    ],
)
def test_other_ways_are_refused_with_what_to_do(twins, tmp_path, settings, word):
    _copy(twins("qwen2_vl").folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    with pytest.raises(InputError, match=rf"{word}.*not supported: give the checkpoint in bfloat16"):
        open_checkpoint(tmp_path)
