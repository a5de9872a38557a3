"""The embedded model is a Qwen3-VL checkpoint like any other: transformers opens it and answers alike."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen2VLImageProcessorPil, Qwen3VLForConditionalGeneration

from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession, Engine
from vlm.families.checkpoint import TINY, open_checkpoint

EXAMPLES = TINY.parents[1] / "examples"


@pytest.fixture(scope="module")
def reference():
    return Qwen3VLForConditionalGeneration.from_pretrained(TINY, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def engine():
    ours = open_checkpoint(TINY, device="cpu", dtype=torch.float32)
    return Engine(ours.model, ours.tokenizer, "tiny")


@pytest.mark.parametrize(
    ("picture", "question"),
    [
        ("circle.png", "What colour is the circle?"),
        ("shapes.png", "Describe the picture."),
        ("star.png", "Where is the star?"),
    ],
)
def test_transformers_gives_the_same_answer(reference, engine, picture, question):
    *_, trace = ChatSession(engine).ask(question, [EXAMPLES / picture], Sampling(max_new_tokens=64))
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    pixels = Qwen2VLImageProcessorPil.from_pretrained(TINY)(
        Image.open(EXAMPLES / picture).convert("RGB"), return_tensors="pt"
    )
    tokens = int(pixels["image_grid_thw"].prod()) // 4
    ids = tokenizer(prompt.replace("<|image_pad|>", "<|image_pad|>" * tokens), return_tensors="pt").input_ids
    is_picture = (ids == reference.config.image_token_id).int()
    written = reference.generate(
        input_ids=ids, mm_token_type_ids=is_picture, **pixels, max_new_tokens=64, do_sample=False
    )
    assert tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True) == trace.answer
