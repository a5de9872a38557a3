"""Loading takes the memory of the weights and little more: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vlm.families.checkpoint import meta_model
from vlm.families.naming import presets

LOAD = """
import re, sys, torch
from vlm.families.checkpoint import find_family, read_files
from vlm.models.model import VisionLanguageModel
from vlm.weights.load import read_weights
from pathlib import Path

folder = Path(sys.argv[1])
files = read_files(folder)
family = find_family(files.config)
# getrusage would start from the peak of the process that started this one.
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
with torch.device("meta"):
    model = VisionLanguageModel(family.read(files))
before = peak()  # PyTorch's meta device alone takes 80 MB, whatever the model
read_weights(model, folder, family.layouts, device="cpu", dtype=None)
touched = sum(float(weight.view(-1)[::512].sum()) for weight in model.parameters())
print(peak() - before, model.nbytes)
"""


pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


@pytest.fixture
def folder(tmp_path):
    """Real widths, few layers: 0.3 GB of bfloat16 in two shards."""
    config = json.loads(presets()["qwen3-vl-2b"].read_text())
    config["text_config"] |= {"num_hidden_layers": 2, "vocab_size": 8_000}
    config["vision_config"] |= {"depth": 3, "deepstack_visual_indexes": [0, 1, 2]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, shapes = meta_model(tmp_path)
    names = sorted(shapes)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in shards.items():
        save_file({key: torch.ones(shapes[key], dtype=torch.bfloat16) for key in keys}, tmp_path / file)
    weight_map = {key: file for file, keys in shards.items() for key in keys}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return tmp_path


def test_peak_memory_stays_near_the_size_of_the_weights(folder):
    done = subprocess.run([sys.executable, "-c", LOAD, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, weights = map(int, done.stdout.split())
    assert weights > 300e6
    # Within 1.15 × the weights; below 0.9 × they would not have been touched and nothing was measured.
    assert 0.9 * weights < grown < 1.15 * weights
