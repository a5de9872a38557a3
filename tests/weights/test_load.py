"""Strict loading: what does not fit is named, and nothing is guessed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from vlm.config import (
    DecoderConfig,
    ExpertsConfig,
    ModelConfig,
    PixelConfig,
    TokenConfig,
    VisionConfig,
)
from vlm.families import qwen2_vl, qwen3_vl
from vlm.models.model import VisionLanguageModel
from vlm.weights.load import WeightsError, key_table, read_weights, save_weights

WIDTH = 8
CUBE = (3, 2, 4, 4)


def _config(tied=False, experts=None) -> ModelConfig:
    vision = VisionConfig(1, 8, 2, 12, WIDTH, 4, num_position_embeddings=4, deepstack_indexes=(0,))
    sizes = {"hidden_size": WIDTH, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "head_dim": 6}
    decoder = DecoderConfig(
        **sizes,
        intermediate_size=10,
        vocab_size=16,
        rms_norm_eps=1e-6,
        rope_theta=1e4,
        mrope_section=(1, 1, 1),
        mrope_interleaved=True,
        qkv_bias=False,
        qk_norm=True,
        tie_word_embeddings=tied,
        context_length=64,
        experts=experts,
    )
    pixels = PixelConfig(4, (0.5,) * 3, (0.5,) * 3, 64, 4096, 64, 4096, video_pixels_per_frame=True)
    tokens = TokenConfig(5, 6, 3, 4, (2,), frame_timestamps=True)
    return ModelConfig("qwen3_vl", vision, decoder, pixels, tokens)


def _model(**options) -> VisionLanguageModel:
    torch.manual_seed(0)
    model = VisionLanguageModel(_config(**options))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def _read(folder, layouts=qwen3_vl.LAYOUTS, dtype=None, **options) -> VisionLanguageModel:
    with torch.device("meta"):
        model = VisionLanguageModel(_config(**options))
    read_weights(model, folder, layouts, device="cpu", dtype=dtype)
    return model


def _tensors(model, layouts=qwen3_vl.LAYOUTS) -> dict[str, torch.Tensor]:
    table = key_table(model, layouts[0])
    found = {table[name]: parameter.detach().clone() for name, parameter in model.named_parameters()}
    patch = found["model.visual.patch_embed.proj.weight"]
    return found | {"model.visual.patch_embed.proj.weight": patch.view(-1, *CUBE)}


def _write(folder, tensors, name="model.safetensors") -> None:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)


def _assert_equal(model, other) -> None:
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name


@pytest.mark.parametrize("layout", [qwen2_vl.LAYOUTS, qwen3_vl.LAYOUTS])
def test_save_and_read(tmp_path, layout):
    model = _model()
    save_weights(model, tmp_path, layout[0], CUBE)
    _assert_equal(model, _read(tmp_path, layout))


def test_both_layouts_of_the_old_families(tmp_path):
    for number, renames in enumerate(qwen2_vl.LAYOUTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_weights(_model(), folder, renames, CUBE)
        _assert_equal(_model(), _read(folder, qwen2_vl.LAYOUTS))


def test_read_weights_are_frozen_and_keep_their_type(tmp_path):
    _write(tmp_path, {key: tensor.bfloat16() for key, tensor in _tensors(_model()).items()})
    kept = list(_read(tmp_path).parameters())
    assert all(p.dtype == torch.bfloat16 and not p.requires_grad and not p.is_meta for p in kept)
    assert all(p.dtype == torch.float32 for p in _read(tmp_path, dtype=torch.float32).parameters())


KEY = "model.visual.blocks.0.mlp.linear_fc2.bias"


def test_missing_key(tmp_path):
    tensors = _tensors(_model())
    del tensors[KEY]
    _write(tmp_path, tensors)
    with pytest.raises(WeightsError, match=rf"missing: {KEY} \(1\)"):
        _read(tmp_path)


def test_unknown_key(tmp_path):
    _write(tmp_path, _tensors(_model()) | {"model.visual.extra.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"unknown: model\.visual\.extra\.weight \(1\)"):
        _read(tmp_path)


@pytest.mark.parametrize(
    "key", [KEY, "model.visual.patch_embed.proj.weight", "model.language_model.embed_tokens.weight"]
)
def test_wrong_shape(tmp_path, key):
    tensors = _tensors(_model())
    _write(tmp_path, tensors | {key: torch.cat((tensors[key], tensors[key]))})
    with pytest.raises(WeightsError, match=rf"wrong shapes: {key} is \("):
        _read(tmp_path)


def test_transposed_matrix_is_refused(tmp_path):
    key = "model.language_model.layers.0.mlp.up_proj.weight"
    tensors = _tensors(_model())
    _write(tmp_path, tensors | {key: tensors[key].T})
    with pytest.raises(WeightsError, match=key):
        _read(tmp_path)


def test_head_missing_where_it_is_not_tied(tmp_path):
    _write(tmp_path, _tensors(_model(tied=True)))
    with pytest.raises(WeightsError, match=r"missing: lm_head\.weight"):
        _read(tmp_path, tied=False)


def test_copy_of_a_tied_head_is_passed_over(tmp_path):
    model = _model(tied=True)
    embedding = model.decoder.embed_tokens.weight.detach().clone()
    _write(tmp_path, _tensors(model) | {"lm_head.weight": embedding})
    _assert_equal(model, _read(tmp_path, tied=True))


def test_shards(tmp_path):
    tensors = _tensors(_model())
    halves = list(tensors)[::2], list(tensors)[1::2]
    index = {}
    for number, keys in enumerate(halves):
        name = f"model-0000{number + 1}-of-00002.safetensors"
        _write(tmp_path, {key: tensors[key] for key in keys}, name)
        index |= dict.fromkeys(keys, name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    _assert_equal(_model(), _read(tmp_path))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00002\.safetensors cannot be read"):
        _read(tmp_path)


def test_shards_stay_in_their_folder(tmp_path):
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="points outside"):
        _read(tmp_path)


def test_damaged_and_absent_files(tmp_path):
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        _read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match="cannot be read"):
        _read(tmp_path)


# gate_up is (2 I, D) and down (D, I): square for I = D / 2 and for I = D, but never both
@pytest.mark.parametrize("hidden", [3, WIDTH // 2, WIDTH])
@pytest.mark.parametrize("swapped", [True, False])
def test_experts_in_both_layouts(tmp_path, hidden, swapped):
    experts = ExpertsConfig(4, 2, hidden)
    model = _model(experts=experts)
    tensors = _tensors(model, qwen3_vl.MOE_LAYOUTS)
    for key in [key for key in tensors if ".experts." in key and swapped]:
        tensors[key] = tensors[key].transpose(1, 2)
    _write(tmp_path, tensors)
    _assert_equal(model, _read(tmp_path, qwen3_vl.MOE_LAYOUTS, experts=experts))


def test_experts_of_mixed_layouts_are_refused(tmp_path):
    experts = ExpertsConfig(4, 2, 3)
    key = "model.language_model.layers.0.mlp.experts.down_proj"
    tensors = _tensors(_model(experts=experts), qwen3_vl.MOE_LAYOUTS)
    _write(tmp_path, tensors | {key: tensors[key].transpose(1, 2)})
    with pytest.raises(WeightsError, match=key):
        _read(tmp_path, qwen3_vl.MOE_LAYOUTS, experts=experts)
