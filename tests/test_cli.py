"""``python -m vlm`` as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).parent.parent


def vlm(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "vlm", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture
def disc(tmp_path):
    image = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(image).ellipse((60, 60, 150, 150), fill=(214, 32, 36))
    image.save(tmp_path / "disc.png")
    return tmp_path / "disc.png"


def test_chat_streams_and_ends_with_one_json_object(disc):
    done = vlm("chat", "--model", "tiny", "--image", disc, "What colour is the circle?", "--json")
    assert done.returncode == 0, done.stderr
    answer, last = done.stdout.strip().splitlines()
    result = json.loads(last)
    assert result["answer"] == answer == "red"
    assert result["stats"]["prompt_tokens_by_kind"]["image"] == 36


# What the README promises of `chat --json`.
STATS = {
    "model", "prompt_tokens", "prompt_tokens_by_kind", "reused_tokens", "computed_tokens", "answer_tokens",
    "guessed_tokens", "accepted_tokens",
    "encoded_patches", "media_ms", "queue_ms", "encode_ms", "prefill_ms", "decode_ms", "first_token_ms",
    "prefill_tokens_per_s", "decode_tokens_per_s", "context_length", "kv_cache_bytes", "weights_bytes",
    "peak_memory_bytes", "device", "dtype", "attention", "quantize", "quantize_reason",
}  # fmt: skip


def test_several_questions_are_one_chat(disc):
    questions = ("What colour is the circle?", "How many objects are there?")
    done = vlm("chat", "--image", disc, *questions, "--json", "--logprobs")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert set(first["stats"]) == STATS
    assert first["stats"]["reused_tokens"] == 0 < 36 < second["stats"]["reused_tokens"]
    assert second["stats"]["encoded_patches"] == 0 and second["answer"] == "one"
    assert len(second["logprobs"]) == second["stats"]["answer_tokens"]
    assert all(value <= 0 for value in second["logprobs"])


def test_sampling_from_the_command_line(disc):
    whole = vlm("chat", "--image", disc, "Describe the picture.").stdout.strip()
    options = ("--stop", " ", "--top-k", "1", "--min-p", "0.1", "--temperature", "0.7", "--seed", "1")
    cut = vlm("chat", "--image", disc, "Describe the picture.", *options)
    assert cut.stdout.strip() == whole.split(" ")[0] != whole


def test_what_does_not_fit_comes_with_ways_out(disc):
    done = vlm("chat", "--image", disc, "--min-pixels", "9000000", "What is this?")
    assert done.returncode == 2 and done.stdout == ""
    assert "context holds 4,096" in done.stderr and "pictures of at most" in done.stderr


def test_bench_measures_and_compares():
    done = vlm("bench", "--model", "tiny", "--json", "--row", "turn5_first_token")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (row,) = (row for row in report["rows"] if row["name"] == "turn5_first_token")
    assert row["ratio"] == pytest.approx(row["reference"] / row["ours"])
    assert "greedy tokens identical" in row["note"] and report["machine"]["cores"] > 0
    fields = {"name", "ours", "reference", "unit", "ratio", "limit", "of_limit", "spread", "note"}
    assert set(row) == fields


def test_inspect_needs_no_weights_and_reports_every_stage(disc, tmp_path):
    out = tmp_path / "positions.npz"
    done = vlm("inspect", disc, "--json", "--positions", out)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    medium = report["media"][0]
    assert (medium["width"], medium["resized_width"], medium["grid_thw"]) == (224, 192, [1, 12, 12])
    assert medium["tokens"] == report["vision_tokens"] == 36
    total = report["text_tokens"] + report["vision_tokens"] + report["special_tokens"]
    assert total == report["sequence_length"]
    arrays = np.load(out)
    assert arrays["position_ids"].shape == (3, report["sequence_length"]) == (3, len(arrays["input_ids"]))
    assert int(arrays["position_ids"].max()) + 1 - report["sequence_length"] == report["rope_delta"]


def test_inspect_prints_the_arithmetic_for_people(disc):
    assert "224×224 → 192×192 → 1×12×12 = 144 patches → 36 tokens" in vlm("inspect", disc).stdout


def wrong_inputs(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "notes.png").write_text("these are notes")
    (tmp_path / "empty.png").touch()
    with av.open(str(tmp_path / "moment.mp4"), "w") as container:  # a clip of no seconds
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 64
        container.start_encoding()
    return {name: tmp_path / name for name in WRONG}


WRONG = ("notes.png", "empty.png", "missing.png", "moment.mp4")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_end_with_code_2_and_one_line(tmp_path, name):
    done = vlm("chat", "--image", wrong_inputs(tmp_path)[name], "What is this?")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert name in line and str(tmp_path) not in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["chat", ""], "question"),
        (["chat", "--model", "no-such-folder", "Hello"], "no-such-folder"),
        (["chat", "--temperature", "-1", "Hello"], "temperature"),
        (["chat", "--device", "cuda", "Hello"], "GPU"),
    ],
)
def test_wrong_arguments_end_with_code_2_and_one_line(arguments, word):
    import torch

    if word == "GPU" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = vlm(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert word in line


def test_inspect_with_a_preset_counts_vision_tokens_and_says_why_not_text(disc):
    report = json.loads(vlm("inspect", disc, "--model", "qwen2.5-vl-7b", "--json").stdout)
    assert report["family"] == "qwen2_5_vl"
    assert report["media"][0]["tokens"] == report["vision_tokens"] == 64  # 224 px, 28 a cell
    assert report["text_tokens"] is None and "tokenizer" in report["notes"][0]


def test_pixel_limits_change_what_the_model_would_see(disc):
    small = json.loads(
        vlm("inspect", disc, "--model", "qwen2-vl-2b", "--max-pixels", "12544", "--json").stdout
    )
    assert small["media"][0]["resized_width"] == 112
    assert vlm("inspect", disc, "--min-pixels", "90000", "--max-pixels", "10").returncode == 2


def test_tree_names_every_official_tensor_without_loading_it():
    tree = json.loads(vlm("tree", "qwen2.5-vl-7b", "--json").stdout)
    # The index of Qwen/Qwen2.5-VL-7B-Instruct: 729 tensors, 16,584,333,312 bytes of bfloat16.
    assert len(tree["tensors"]) == 729
    assert tree["parameters"] == 16_584_333_312 // 2
    assert tree["tensors"]["visual.patch_embed.proj.weight"] == [1280, 3, 2, 14, 14]
    assert "decoder: Decoder" in vlm("tree", "tiny").stdout


def test_models_lists_the_embedded_model_and_every_preset():
    rows = {row["name"]: row for row in json.loads(vlm("models", "--json").stdout)}
    assert {"tiny", "qwen2-vl-7b", "qwen2.5-vl-3b", "qwen3-vl-2b", "qwen3-vl-30b-a3b"} <= rows.keys()
    assert all(row["nf4_bytes"] < row["bf16_bytes"] == 2 * row["parameters"] for row in rows.values())


def test_a_preset_has_no_weights_to_chat_with():
    done = vlm("chat", "--model", "qwen3-vl-2b", "Hello")
    assert done.returncode == 2 and "preset" in done.stderr


def test_chat_in_four_bits_says_so_and_other_modes_are_refused(disc):
    done = vlm("chat", "--image", disc, "What colour is the circle?", "--quantize", "4bit", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["answer"] == "red" and result["stats"]["quantize"] == "nf4"
    assert result["stats"]["quantize_reason"] == "asked for" and not done.stderr.strip()
    done = vlm("chat", "Hello", "--quantize", "3bit")
    assert done.returncode == 2 and "use auto, none, nf4, int8" in done.stderr


def test_auto_shows_the_sum_that_it_made(disc):
    done = vlm("chat", "--image", disc, "What colour is the circle?", "--json")
    stats = json.loads(done.stdout.strip().splitlines()[-1])["stats"]
    assert stats["quantize"] == "none" and "tokens" in stats["quantize_reason"]
    assert "fit in 90% of the" in stats["quantize_reason"]
