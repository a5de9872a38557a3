"""Checkpoint files: what we write, transformers reads, and the other way round, by name and shape."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from oracle import expect, logits
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stages import check_logits, close
from talks import TALKS
from twins import RECIPES, Twin, make_twin

from vlm.families.checkpoint import open_checkpoint, save_checkpoint

WEIGHTS = "model.safetensors"


def _shapes(folder):
    with safe_open(folder / WEIGHTS, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _swapped(shapes):
    """Experts as on the hub, (E, in, out): transformers 5.23 writes (E, out, in) and reads both."""
    return {k: (v[0], v[2], v[1]) if ".experts." in k else v for k, v in shapes.items()}


def test_saved_names_and_shapes(twin, tmp_path):
    save_checkpoint(twin.ours, tmp_path)
    assert _shapes(tmp_path) == _swapped(_shapes(twin.folder))


def test_saved_weights_are_equal(twin, tmp_path):
    save_checkpoint(twin.ours, tmp_path)
    saved, original = load_file(tmp_path / WEIGHTS), load_file(twin.folder / WEIGHTS)
    for name, tensor in original.items():
        ours = saved[name].transpose(1, 2) if ".experts." in name else saved[name]
        assert torch.equal(ours, tensor), name


def test_transformers_opens_what_we_save(twin, tmp_path):
    save_checkpoint(twin.ours, tmp_path)
    classes = getattr(transformers, f"{twin.recipe.name}ForConditionalGeneration")
    reference, report = classes.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    talk = TALKS["image_after_video"]
    expected = expect(twin, talk)
    again = Twin(twin.family, tmp_path, reference.eval(), twin.ours)
    close("logits", logits(again, expected.prompt, expected.media), expected.logits)
    check_logits(again, talk)


@pytest.mark.parametrize("family", RECIPES)
def test_the_other_kind_of_head(family, tmp_path):
    """Each family with its head tied where its twin's is not, and the other way round."""
    tied = not RECIPES[family].tied
    twin = make_twin(family, tmp_path, tied=tied)
    assert ("lm_head.weight" in _shapes(tmp_path)) is not tied
    assert (twin.ours.model.decoder.lm_head is None) is tied
    check_logits(twin, TALKS["image"])


def test_experts_in_hub_layout(twins, tmp_path):
    """(E, in, out), as every official file has them: the same model as from (E, out, in)."""
    _rewrite_experts(twins("qwen3_vl_moe"), tmp_path, lambda tensor: tensor.transpose(1, 2).contiguous())
    ours = open_checkpoint(tmp_path, dtype=torch.float32).model
    for name, parameter in twins("qwen3_vl_moe").ours.model.named_parameters():
        assert torch.equal(ours.get_parameter(name), parameter), name


def _rewrite_experts(twin, folder, change):
    weights = load_file(twin.folder / WEIGHTS)
    weights = {name: change(x) if ".experts." in name else x for name, x in weights.items()}
    save_file(weights, folder / WEIGHTS)
    for file in (*twin.folder.glob("*.json"), twin.folder / "chat_template.jinja"):
        (folder / file.name).write_bytes(file.read_bytes())


def test_config_shapes(twin):
    """The nested config of transformers 5 and the hub's own shape read the same."""
    nested = json.loads((twin.folder / "config.json").read_text())
    assert "rope_parameters" in nested["text_config"]
    assert twin.ours.config.decoder.rope_theta == 1e4
    assert twin.ours.config.decoder.mrope_section == tuple(twin.recipe.text["rope_scaling"]["mrope_section"])


def test_processor_config_of_transformers_5(twin, tmp_path):
    """Its processors are saved together in one file; limits must not fall back to the hub's."""
    for file in twin.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    processors = {}
    for kind, name in (("image", "preprocessor_config"), ("video", "video_preprocessor_config")):
        file = tmp_path / f"{name}.json"
        if file.exists():
            processors[f"{kind}_processor"] = json.loads(file.read_text())
            file.unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps(processors))
    assert open_checkpoint(tmp_path).config == twin.ours.config


def test_no_end_token_is_none(twins):
    """A config without an end token gives an empty row of them."""
    assert twins("qwen3_vl").ours.config.tokens.eos == ()
