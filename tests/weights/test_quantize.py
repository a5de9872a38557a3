"""4 and 8 bits: the same numbers as bitsandbytes, in the right places only, in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vlm.families import FAMILIES
from vlm.families.base import Files
from vlm.families.checkpoint import open_checkpoint, save_checkpoint
from vlm.families.naming import read_files
from vlm.models.decoder import Decoder
from vlm.models.experts import SparseMLP
from vlm.models.model import VisionLanguageModel
from vlm.records import InputError
from vlm.weights import quantize
from vlm.weights.banks import (
    OUTLIER,
    Bank,
    InterleavedBank,
    QuantLinear,
    _interleave,
    _interleaving_works,
    bitsandbytes,
    for_device,
    four_bit,
    interleaved,
    natural,
)
from vlm.weights.choose import choose, quantised_bytes
from vlm.weights.quantize import quantisable, quantised, swap

CPU = torch.device("cpu")


def _matrix(rows=96, columns=128, dtype=torch.bfloat16, experts=None):
    torch.manual_seed(0)
    shape = (rows, columns) if experts is None else (experts, rows, columns)
    return (0.02 * torch.randn(shape)).to(dtype)


def test_chunks_give_what_the_library_gives_for_the_whole(monkeypatch):
    monkeypatch.setattr(quantize, "CHUNK", 1024)
    matrix, functional = _matrix(70, 72), bitsandbytes().functional
    packed, state = quantize._nf4(matrix)
    expected, whole = functional.quantize_4bit(matrix, compress_statistics=True, quant_type="nf4")
    assert torch.equal(packed, expected.flatten()) and torch.equal(state.absmax, whole.absmax)
    assert torch.equal(state.state2.absmax, whole.state2.absmax) and state.offset == whole.offset
    values, scales = quantize._int8(matrix)
    expected, rows, _ = functional.int8_vectorwise_quant(matrix.half())
    assert torch.equal(values, expected) and torch.equal(scales, rows)


def test_the_order_of_the_fast_product_and_back():
    packed = torch.arange(64 * 96 // 2).to(torch.uint8)
    tiles = interleaved(packed, 64)
    assert torch.equal(natural(tiles), packed) and not torch.equal(tiles.flatten(), packed)
    code = (packed.int() >> 4)[0]  # row 0, input 0: the low half of the first byte
    assert (tiles[0, 0] & 15) == code


@pytest.mark.parametrize("mode", ["nf4", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 128), (3, 5, 128), (2, 40, 128)], ids=str)
def test_products(mode, dtype, shape):
    """Few rows and many, with a bias, against the unpacked matrix in float32."""
    bank, bias = quantised(_matrix(dtype=dtype), mode, CPU), torch.randn(96).to(dtype)
    x = torch.randn(shape).to(dtype)
    x[..., 5] = 20.0  # an outlier column for int8
    out = QuantLinear(bank, nn.Parameter(bias))(x)
    expected = F.linear(x.float(), bank.dense(0).float(), bias.float())
    assert out.dtype == dtype and out.shape == expected.shape
    # bfloat16: terms, sum and scales each off by half an eps; int8 rounds inputs up to 6 to 1 in 127 · 2.
    step = 3 * torch.finfo(torch.bfloat16).eps / 2 if dtype == torch.bfloat16 else 1e-5
    step += OUTLIER / 254 if mode == "int8" else 0
    size = (x.float().abs() @ bank.dense(0).float().abs().T + bias.float().abs()).max()
    assert (out.float() - expected).abs().max() < step * size
    relative = (bank.dense(0).float() - _matrix().float()).norm() / _matrix().float().norm()
    # A normal variable in blocks of 64: 9% measured in 4 bits; in 8 bits a step is 1/127 of about 2.7 σ.
    assert relative < (0.1 if mode == "nf4" else 0.01)


def test_shapes_that_do_not_fit_the_fast_product_work_too():
    for rows, columns in ((33, 64), (32, 72), (5, 6)):
        bank, x = quantised(_matrix(rows, columns), "nf4", CPU), torch.randn(2, columns).bfloat16()
        assert not isinstance(bank, InterleavedBank)
        torch.testing.assert_close(
            QuantLinear(bank, None)(x), F.linear(x, bank.dense(0)), rtol=0.02, atol=1e-3
        )


def test_both_orders_hold_the_same_weights():
    plain = four_bit([quantize._nf4(_matrix())])
    fast = _interleave(plain)
    # The fast order keeps scales in bfloat16: off by at most 2⁻⁹ of themselves, and once more as a product.
    torch.testing.assert_close(fast.dense(0), plain.dense(0), rtol=2**-7, atol=0)
    assert isinstance(for_device(plain), InterleavedBank) == _interleaving_works()


def test_a_matrix_of_zeros_stays_zero():
    for mode in ("nf4", "int8"):
        bank = quantised(torch.zeros(32, 64, dtype=torch.bfloat16), mode, CPU)
        assert not QuantLinear(bank, None)(torch.ones(1, 64, dtype=torch.bfloat16)).any()


@pytest.mark.parametrize("mode", ["nf4", "int8"])
def test_experts_one_by_one(mode):
    """A bank in place of the experts' tensors gives what the unpacked experts give."""
    config = _config(
        "qwen3-vl-30b-a3b", num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32
    ).experts
    mlp, plain = SparseMLP(64, config).bfloat16(), SparseMLP(64, config).bfloat16()
    torch.manual_seed(0)
    for parameter in mlp.parameters():
        nn.init.normal_(parameter, std=0.1)
    plain.gate = mlp.gate
    for name in ("gate_up_proj", "down_proj"):
        bank = quantised(getattr(mlp, name).detach(), mode, CPU)
        swap(mlp, name, bank)
        setattr(plain, name, nn.Parameter(torch.stack([bank.dense(index) for index in range(6)])))
    x = torch.randn(1, 7, 64).bfloat16()
    with torch.no_grad():
        cosine = F.cosine_similarity(mlp(x).float().flatten(), plain(x).float().flatten(), dim=0)
    assert cosine > 0.999 and not dict(mlp.named_parameters()).keys() - {"gate.weight"}


def _config(name, **sizes):
    """Decoder of an official size, some of its fields changed."""
    config = read_files(name).config
    config |= {"text_config": config["text_config"] | sizes}
    return FAMILIES[config["model_type"]].read(Files(config, {}, {}, {})).decoder


def test_real_widths_keep_the_logits():
    """Two layers of Qwen3-VL-2B, matrices N(0, 0.02), embeddings N(0, 1): cosine measured 0.991 on average.

    With embeddings of 0.02 as well the layers' own outputs are all there is, and random layers have no
    stream that would drown their 9% of noise: 0.94. Trained models are between (docs/decisions.md).
    """
    torch.manual_seed(0)
    with torch.device("meta"):
        decoder = Decoder(_config("qwen3-vl-2b", num_hidden_layers=2, vocab_size=1_000)).eval()
    for name, parameter in list(decoder.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        size = 1.0 if "embed" in name else 0.02
        weight = torch.randn(parameter.shape) * size if parameter.dim() > 1 else torch.ones(parameter.shape)
        weight = nn.Parameter(weight.bfloat16(), requires_grad=False)
        decoder.get_submodule(owner).register_parameter(leaf, weight)
    ids, positions = torch.randint(0, 1_000, (1, 40)), torch.arange(40).expand(3, 1, 40)

    def logits():
        with torch.no_grad():
            return decoder.logits(decoder(decoder.embed_tokens(ids), positions)[0]).float()

    expected, names = logits(), [n for n, _ in decoder.named_parameters() if quantisable(f"decoder.{n}")]
    full = sum(decoder.get_parameter(name).nbytes for name in names)
    for name in names:
        swap(decoder, name, quantised(decoder.get_parameter(name), "nf4", CPU))
    assert len(names) == 14 and sum(buffer.nbytes for buffer in decoder.buffers()) <= 0.31 * full
    assert F.cosine_similarity(logits(), expected, dim=-1).min() > 0.98


@pytest.mark.parametrize("mode", ["nf4", "int8"])
def test_only_the_decoders_matrices_change(mode):
    checkpoint, plain = open_checkpoint("tiny", quantize=mode), open_checkpoint("tiny")
    changed = {n for n, module in checkpoint.model.named_modules() if isinstance(module, QuantLinear)}
    linear = {n for n, module in plain.model.decoder.layers.named_modules() if isinstance(module, nn.Linear)}
    assert changed == {f"decoder.layers.{name}" for name in linear}
    for name, parameter in checkpoint.model.named_parameters():
        assert torch.equal(parameter, plain.model.get_parameter(name)), name
    assert checkpoint.quantize == checkpoint.model.quantization == mode and checkpoint.quantize_reason
    assert checkpoint.model.parameter_count == plain.model.parameter_count
    # The fast order has 16 bits to a scale where double quantisation has 8.1: an eighth of 4 bits more.
    estimate = quantised_bytes(plain.model, mode)
    assert 0.999 * estimate < checkpoint.model.nbytes < 1.05 * estimate


def test_a_quantised_model_is_not_saved_by_halves(tmp_path):
    with pytest.raises(InputError, match="quantize none"):
        save_checkpoint(open_checkpoint("tiny", quantize="4bit"), tmp_path)


@pytest.mark.parametrize("name", ["qwen2-vl-2b", "qwen2.5-vl-3b", "qwen3-vl-2b", "qwen3-vl-30b-a3b"])
def test_what_is_quantised(name):
    """All matrices of the decoder's layers but the router, and nothing else."""
    config = read_files(name).config
    with torch.device("meta"):
        model = VisionLanguageModel(FAMILIES[config["model_type"]].read(Files(config, {}, {}, {})))
    chosen = {n for n, _ in model.named_parameters() if quantisable(n)}
    matrices = {n for n, p in model.decoder.layers.named_parameters() if p.dim() > 1}
    routers = {n for n in matrices if n.endswith("mlp.gate.weight")}
    assert chosen == {f"decoder.layers.{n}" for n in matrices - routers}
    assert len(routers) == (len(model.decoder.layers) if model.config.decoder.experts else 0)


@pytest.fixture
def meta():
    with torch.device("meta"):
        config = read_files("qwen3-vl-2b").config
        return VisionLanguageModel(FAMILIES[config["model_type"]].read(Files(config, {}, {}, {})))


def _choose(meta, wanted="auto", free=0.0):
    return choose(wanted, meta, meta.config.decoder, torch.bfloat16, int(free))


def test_auto_shows_its_sum(meta):
    # 2,127,532,032 weights of 2 bytes; 28 layers × 2 × 8 heads × 128 × 2 bytes × 262,144 tokens.
    need = 2 * 2_127_532_032 + 28 * 2 * 8 * 128 * 2 * 262_144
    roomy, tight = (_choose(meta, free=need / 0.9 + extra) for extra in (100, -1e6))
    assert (roomy.mode, tight.mode) == ("none", "nf4")
    assert "weights 4.0 GiB + cache of all 262,144 tokens 28.0 GiB = 32.0 GiB fit in 90%" in roomy.reason
    assert "do not fit in 90% of the 35.5 GiB free" in tight.reason
    # A layer has 2 · 2048² + 2 · 2048 · 1024 + 3 · 2048 · 6144 = 50.3 million weights in matrices: 28 of them
    # fall from 2 bytes to 4.13 bits, 2.6 → 0.7 GiB, and 1.3 GiB stay.
    assert "4 bits the weights take 2.0 GiB" in tight.reason and "even so" not in tight.reason
    assert "even so the whole context will not fit" in _choose(meta, free=8 * 2**30).reason


def test_modes_have_aliases_and_others_are_refused(meta):
    assert _choose(meta, "4bit").mode == "nf4"
    assert _choose(meta, "8bit").mode == "int8"
    with pytest.raises(InputError, match="auto, none, nf4, int8, int4"):
        _choose(meta, "3bit")


def test_banks_move_like_other_weights():
    bank = quantised(_matrix(), "nf4", CPU)
    moved = QuantLinear(bank, None).to("meta")
    assert all(buffer.is_meta for buffer in moved.buffers()) and isinstance(moved.weight, Bank)


def test_the_library_fetches_no_code(tmp_path):
    """With the `kernels` package at hand bitsandbytes would ask a hub for compiled CPU kernels."""
    asked = tmp_path / "asked"
    (tmp_path / "kernels.py").write_text(f"def get_kernel(*a, **o): open({str(asked)!r}, 'w').close()")
    code = (
        "from vlm.weights.banks import bitsandbytes; bitsandbytes(); import kernels; print(kernels.__file__)"
    )
    path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "kernels.py" in done.stdout and not asked.exists()
